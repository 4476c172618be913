// Image writes a container image for several processors as an archive of an OCI
// image layout. "docker load", "podman load" and "skopeo copy --all" read it.
//
// It is hand-written because buildah 1.28 can't make this image twice: its
// configuration has a random host name. In the OCI format it also leaves out the
// health check, and it calls ARMv6 "v7". What the image runs comes from the
// Dockerfile, and a test compares both.
package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"time"
)

const (
	mediaIndex    = "application/vnd.oci.image.index.v1+json"
	mediaManifest = "application/vnd.oci.image.manifest.v1+json"
	mediaConfig   = "application/vnd.oci.image.config.v1+json"
	mediaLayer    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

// platform is a system and a processor, as linux/arm/v6.
type platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
	Variant      string `json:"variant,omitempty"`
}

// descriptor names a blob.
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Platform    *platform         `json:"platform,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// index lists the images of all platforms.
type index struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	Manifests     []descriptor      `json:"manifests"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

// manifest is the image of one platform.
type manifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	Config        descriptor        `json:"config"`
	Layers        []descriptor      `json:"layers"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

// config is the configuration of an image.
type config struct {
	Created string `json:"created"`
	platform
	Config settings `json:"config"`
	RootFS rootFS   `json:"rootfs"`
	// Docker shows one line for each layer.
	History []history `json:"history"`
}

// settings are what the Dockerfile says about running the image.
type settings struct {
	User         string              `json:"User,omitempty"`
	ExposedPorts map[string]struct{} `json:"ExposedPorts,omitempty"`
	Entrypoint   []string            `json:"Entrypoint,omitempty"`
	Labels       map[string]string   `json:"Labels,omitempty"`
	// Docker's extension of the OCI format.
	Healthcheck *healthcheck `json:"Healthcheck,omitempty"`
}

type healthcheck struct {
	Test        []string
	Interval    time.Duration `json:",omitempty"`
	Timeout     time.Duration `json:",omitempty"`
	StartPeriod time.Duration `json:",omitempty"`
}

type rootFS struct {
	Type    string   `json:"type"`
	DiffIDs []string `json:"diff_ids"`
}

type history struct {
	Created   string `json:"created"`
	CreatedBy string `json:"created_by"`
}

func main() {
	dockerfile := flag.String("dockerfile", "Dockerfile", "the `file` with the settings of the image")
	stage := flag.String("stage", "settings", "the `stage` of the Dockerfile that has them")
	program := flag.String("program", "pico-tracker", "the `name` of the program")
	dist := flag.String("dist", "dist", "the `directory` with the binaries")
	name := flag.String("name", "", "the `name` of the image with its tag")
	version := flag.String("version", "", "the `version` of the tracker")
	revision := flag.String("revision", "", "the `commit` that the binaries come from")
	created := flag.Int64("created", 0, "the time of the image in `seconds` since 1970")
	output := flag.String("o", "", "the archive to write")
	flag.Parse()
	if *name == "" || *version == "" || *output == "" || flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "image: want -name, -version, -o and platforms such as linux/arm/v6")
		os.Exit(2)
	}
	b := builder{program: *program, name: *name, version: *version, revision: *revision, created: time.Unix(*created, 0).UTC(), blobs: map[string][]byte{}}
	if err := b.build(*dockerfile, *stage, *dist, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
	if err := os.WriteFile(*output, b.archive(), 0o644); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

// builder collects the files of the archive.
type builder struct {
	program, name, version, revision string
	created                          time.Time
	blobs                            map[string][]byte // by path
}

func (b *builder) build(dockerfile, stage, dist string, platforms []string) error {
	text, err := os.ReadFile(dockerfile)
	if err != nil {
		return err
	}
	run, err := parseSettings(string(text), stage)
	if err != nil {
		return fmt.Errorf("%s: %v", dockerfile, err)
	}
	run.Labels = b.labels()

	all := index{SchemaVersion: 2, MediaType: mediaIndex, Annotations: b.labels()}
	for _, name := range platforms {
		p, err := parsePlatform(name)
		if err != nil {
			return err
		}
		binary, err := os.ReadFile(filepath.Join(dist, b.program+"-"+p.OS+"-"+p.Architecture+p.Variant))
		if err != nil {
			return err
		}
		all.Manifests = append(all.Manifests, b.image(p, run, binary))
	}
	// The layout names one image, which is for all platforms.
	entry := b.json(mediaIndex, all)
	entry.Annotations = map[string]string{"org.opencontainers.image.ref.name": b.name, "io.containerd.image.name": b.name}
	b.blobs["index.json"] = marshal(index{SchemaVersion: 2, MediaType: mediaIndex, Manifests: []descriptor{entry}})
	b.blobs["oci-layout"] = []byte(`{"imageLayoutVersion":"1.0.0"}`)
	return nil
}

func (b *builder) labels() map[string]string {
	const home = "https://github.com/fabricionaweb/pico-tracker"
	m := map[string]string{
		"org.opencontainers.image.title":         b.program,
		"org.opencontainers.image.url":           home,
		"org.opencontainers.image.source":        home,
		"org.opencontainers.image.documentation": home + "#readme",
		"org.opencontainers.image.licenses":      "MIT AND BSD-3-Clause",
		"org.opencontainers.image.version":       b.version,
		"org.opencontainers.image.created":       b.created.Format(time.RFC3339),
	}
	if b.revision != "" {
		m["org.opencontainers.image.revision"] = b.revision
	}
	return m
}

// image adds the image of one platform: one layer with the program alone.
func (b *builder) image(p platform, run settings, binary []byte) descriptor {
	layer := tarball(b.created, map[string][]byte{b.program: binary}, 0o755)
	created := b.created.Format(time.RFC3339)
	c := config{
		Created:  created,
		platform: p,
		Config:   run,
		RootFS:   rootFS{Type: "layers", DiffIDs: []string{digest(layer)}},
		History:  []history{{Created: created, CreatedBy: "COPY " + b.program + " /" + b.program}},
	}
	m := manifest{
		SchemaVersion: 2,
		MediaType:     mediaManifest,
		Config:        b.json(mediaConfig, c),
		Layers:        []descriptor{b.blob(mediaLayer, compress(layer))},
		Annotations:   b.labels(),
	}
	d := b.json(mediaManifest, m)
	d.Platform = &p
	return d
}

func (b *builder) json(mediaType string, v any) descriptor {
	return b.blob(mediaType, marshal(v))
}

func (b *builder) blob(mediaType string, data []byte) descriptor {
	d := digest(data)
	b.blobs["blobs/"+strings.Replace(d, ":", "/", 1)] = data
	return descriptor{MediaType: mediaType, Digest: d, Size: len(data)}
}

// archive returns the layout as a tar archive.
func (b *builder) archive() []byte {
	return tarball(b.created, b.blobs, 0o644)
}

// parsePlatform parses a name such as linux/amd64 or linux/arm/v6.
func parsePlatform(name string) (platform, error) {
	parts := strings.Split(name, "/")
	if len(parts) < 2 || len(parts) > 3 || strings.Contains("/"+name+"/", "//") {
		return platform{}, fmt.Errorf("platform %q: want one like linux/amd64 or linux/arm/v6", name)
	}
	return platform{OS: parts[0], Architecture: parts[1], Variant: strings.Join(parts[2:], "")}, nil
}

// parseSettings reads a stage of the Dockerfile that has no files.
func parseSettings(dockerfile, stage string) (settings, error) {
	from := "FROM scratch AS " + stage + "\n"
	_, text, ok := strings.Cut(dockerfile, from)
	if !ok {
		return settings{}, fmt.Errorf("no stage %q", from)
	}
	text, _, _ = strings.Cut(text, "\nFROM ")
	var s settings
	for _, line := range strings.Split(text, "\n") {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		instruction, value, _ := strings.Cut(line, " ")
		var err error
		switch instruction {
		case "USER":
			s.User = value
		case "EXPOSE":
			s.ExposedPorts = map[string]struct{}{value: {}}
		case "ENTRYPOINT":
			err = json.Unmarshal([]byte(value), &s.Entrypoint)
		case "HEALTHCHECK":
			s.Healthcheck, err = parseHealthcheck(value)
		default:
			err = errors.New("not known here")
		}
		if err != nil {
			return settings{}, fmt.Errorf("%s: %v", line, err)
		}
	}
	return s, nil
}

var healthOption = regexp.MustCompile(`^--([a-z-]+)=(\S+) `)

// parseHealthcheck parses what follows HEALTHCHECK.
func parseHealthcheck(value string) (*healthcheck, error) {
	var h healthcheck
	for m := healthOption.FindStringSubmatch(value); m != nil; m = healthOption.FindStringSubmatch(value) {
		d, err := time.ParseDuration(m[2])
		if err != nil {
			return nil, err
		}
		switch m[1] {
		case "interval":
			h.Interval = d
		case "timeout":
			h.Timeout = d
		case "start-period":
			h.StartPeriod = d
		default:
			return nil, fmt.Errorf("--%s: not known here", m[1])
		}
		value = value[len(m[0]):]
	}
	var command []string
	if err := json.Unmarshal([]byte(strings.TrimPrefix(value, "CMD ")), &command); err != nil {
		return nil, err
	}
	h.Test = append([]string{"CMD"}, command...)
	return &h, nil
}

// tarball returns a tar archive of files that belong to root.
func tarball(modified time.Time, files map[string][]byte, mode int64) []byte {
	var names []string
	for name := range files {
		names = append(names, name)
	}
	sort.Strings(names)
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, name := range names {
		h := tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(files[name])), ModTime: modified, Format: tar.FormatUSTAR}
		must(w.WriteHeader(&h))
		_, err := w.Write(files[name])
		must(err)
	}
	must(w.Close())
	return out.Bytes()
}

func compress(data []byte) []byte {
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	must(err)
	_, err = w.Write(data)
	must(err)
	must(w.Close())
	return out.Bytes()
}

func digest(data []byte) string {
	return fmt.Sprintf("sha256:%x", sha256.Sum256(data))
}

func marshal(v any) []byte {
	data, err := json.Marshal(v)
	must(err)
	return data
}

// must panics on an error that writing to memory can't have.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
