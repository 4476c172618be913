# docker build .                  compiles in a container of Go
# docker build --target dist .    takes the binaries of make dist
# --target portmap and portmap-dist do the same for the port mapping program.

# The settings of both images.
FROM scratch AS settings
# A number, because the image has no /etc/passwd.
USER 6969:6969
EXPOSE 1337/udp
# "self" asks the tracker that the same environment variables start.
HEALTHCHECK --interval=30s --timeout=10s --start-period=5s CMD ["/pico-tracker", "-probe", "self"]
ENTRYPOINT ["/pico-tracker"]

FROM settings AS dist
ARG TARGETOS
ARG TARGETARCH
# Set for ARM only: v5, v6 or v7.
ARG TARGETVARIANT
COPY dist/pico-tracker-$TARGETOS-$TARGETARCH$TARGETVARIANT /pico-tracker

FROM --platform=$BUILDPLATFORM docker.io/library/golang:1.26-alpine AS compiled
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
# .dockerignore says which directories these are.
COPY . .
ARG TARGETOS
ARG TARGETARCH
ARG TARGETVARIANT
ARG VERSION
ENV CGO_ENABLED=0 GO386=softfloat GOMIPS=softfloat GOMIPS64=softfloat
RUN GOOS=$TARGETOS GOARCH=$TARGETARCH GOARM=${TARGETVARIANT#v} \
	go build -tags release -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$VERSION" -o /pico-tracker .

# The program that asks the router for a port mapping, an image of its own.
FROM scratch AS portmap-settings
USER 6969:6969
ENTRYPOINT ["/pico-tracker-portmap"]

FROM portmap-settings AS portmap-dist
ARG TARGETOS
ARG TARGETARCH
ARG TARGETVARIANT
COPY dist/pico-tracker-portmap-$TARGETOS-$TARGETARCH$TARGETVARIANT /pico-tracker-portmap

FROM --platform=$BUILDPLATFORM docker.io/library/golang:1.26-alpine AS portmap-compiled
WORKDIR /src
COPY portmap/go.mod portmap/go.sum ./
RUN go mod download
COPY portmap .
ARG TARGETOS
ARG TARGETARCH
ARG TARGETVARIANT
ARG VERSION
ENV CGO_ENABLED=0 GO386=softfloat GOMIPS=softfloat GOMIPS64=softfloat
RUN GOOS=$TARGETOS GOARCH=$TARGETARCH GOARM=${TARGETVARIANT#v} \
	go build -tags release -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$VERSION" -o /pico-tracker-portmap .

FROM portmap-settings AS portmap
COPY --from=portmap-compiled /pico-tracker-portmap /pico-tracker-portmap

FROM settings
COPY --from=compiled /pico-tracker /pico-tracker
