//go:build linux

package docs

import (
	"go/parser"
	"go/token"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// This file checks that documents and comments are plain, for readers whose first
// language is not English. It finds long sentences, and phrases that such readers
// had to read twice.

// maxWords is how many words a sentence may have.
const maxWords = 30

// phrases are patterns of phrases that are hard to understand, and of words that
// only this project used.
var phrases = []struct{ pattern, instead string }{
	{`\bsays? whether\b`, `reports whether`},
	{`\b(is|are|was|were) to be\b`, `must be, or will be`},
	{`\bof no use\b`, `useless, or not needed`},
	{`\bnewcomers?\b`, `a new peer`},
	{`\b(to|by|from|in|for) the world\b|\bthe world (knows|gets|has)\b`, `the internet`},
	{`\b(the|this|our|a router's) outside\b`, `the public address, or the internet`},
	{`\bmended?\b`, `fixed`},
	{`\b(a|no) strangers?\b`, `someone on the internet`},
	{`\b(the|a) keeper\b`, `the maintenance loop`},
	{`\b(the|a worker's) desk\b`, `the handler`},
	{`\bthe floor\b`, `the reference`},
	{`\bfloor plan\b`, `the list of files`},
	{`\bbut for\b`, `except`},
	{`\bone that (is|was|has|isn't|cannot|can't)\b`, `name the thing`},
	{`\bhas it (read|done|announce)\b`, `reads it, makes it announce`},
	{`(^|[.,:;(] ?|\b(to|for|of|from|than|by|and|but|with|because|if|is|tell|ask) )who (asks|reads|knows|comes|waits|stops|calls|is|has)\b`,
		`name the person or the program`},
	{`\bwho(m?so)?ever\b`, `name the person or the program`},
	{`\bwhat (is|are) (kept|left|told|taken|given)\b`, `name the thing`},
	{`\bcomforts?\b`, `what a system may lack`},
	{`\bnews\b`, `events, or log lines`},
	{`\bin hand\b`, `current`},
	{`\bfor (want|lack) of\b`, `because there is no`},
	{`\bby right\b`, `leave it out`},
	{`\ball the same\b`, `nevertheless, or still`},
	{`\bfor ever\b`, `endlessly, or until it ends`},
	{`\b(does|do|goes|go) without\b`, `does not use, or works without`},
	{`\b(has|have|had) (a|an|the|its|their) \w+ (file )?(read|do|go|take|give|call|write|log|come|leave|look|make|send|answer|keep|wait) `, `makes it read, calls, writes`},
	{`\bgo(es)? on (being|to|with)\b`, `continues`},
	{`\bupon\b`, `on`},
	{`\b(can|may|could|must) be had\b`, `is available`},
	{`\bleads? (home|inside|outside)\b`, `forwards to`},
	{`\bso (has|have|does|do|is|are) (the|its)\b`, `also`},
	{`\bwithout a word\b`, `silently, or without a log line`},
	{`\b(noughts?|anew|thereof|therein|wherein|whither)\b`, `zero, again, of it`},
	{`\b(lest|whence|hither|oft|yonder|shall)\b`, `must, will, or from where`},
	{`\bas \w+ has it\b`, `in the form of, by the rules of`},
	{`\bis well\b`, `works`},
}

var compiledPhrases = func() (all []*regexp.Regexp) {
	for _, p := range phrases {
		all = append(all, regexp.MustCompile(`(?i)`+p.pattern))
	}
	return all
}()

// exceptions has the reason for each sentence or comment that may break a rule.
// Line breaks are spaces, and code is CODE.
var exceptions = map[string]string{}

// TestDocumentsArePlain checks the length of sentences and the words in all
// Markdown documents.
func TestDocumentsArePlain(t *testing.T) {
	sentences := 0
	for name, text := range documents(t) {
		for _, s := range proseOf(text) {
			sentences++
			if exceptions[s] != "" {
				continue
			}
			if n := len(strings.Fields(s)); n > maxWords {
				t.Errorf("%s: got a sentence of %d words, want at most %d: %s", name, n, maxWords, s)
			}
			checkPhrases(t, name, s)
		}
	}
	if sentences < 500 {
		t.Errorf("got %d sentences in all documents, want at least 500: the check is blind", sentences)
	}
}

// TestCommentsArePlain checks the words in the comments of all Go files.
func TestCommentsArePlain(t *testing.T) {
	out, err := exec.Command("git", "-C", "..", "ls-files", "*.go").Output()
	if err != nil {
		t.Fatal(err)
	}
	files := strings.Fields(string(out))
	if len(files) < 50 {
		t.Fatalf("got %d Go files, want at least 50", len(files))
	}
	for _, name := range files {
		if name == "docs/prose_test.go" { // it lists the phrases
			continue
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, "../"+name, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, group := range f.Comments {
			if text := strings.Join(strings.Fields(group.Text()), " "); exceptions[text] == "" {
				checkPhrases(t, fset.Position(group.Pos()).String(), text)
			}
		}
	}
}

func checkPhrases(t *testing.T, where, text string) {
	t.Helper()
	for i, p := range compiledPhrases {
		if found := p.FindString(text); found != "" {
			t.Errorf("%s: got %q, want %s: %s", where, found, phrases[i].instead, text)
		}
	}
}

// TestPhrases checks that the patterns find hard phrases, and nothing else.
func TestPhrases(t *testing.T) {
	for _, test := range []struct {
		text string
		hard bool
	}{
		{"Tell who asks for it.", true},
		{"Who reads the file sees all of it.", true},
		{"Anyone who knows the info hash can ask.", false},
		{"A list that cannot be read and one that is empty differ.", true},
		{"An attack that is stopped costs nothing.", false},
		{"SIGHUP has the list file read again.", true},
		{"The file has the list of torrents.", false},
		{"The rest is to be sent later.", true},
		{"The rest is sent later.", false},
	} {
		found := ""
		for _, p := range compiledPhrases {
			found += p.FindString(test.text)
		}
		if got := found != ""; got != test.hard {
			t.Errorf("%q: got %v (%q), want %v", test.text, got, found, test.hard)
		}
	}
}

var (
	fence   = regexp.MustCompile("(?ms)^```.*?^```$")
	link    = regexp.MustCompile(`!?\[([^\]]*)\]\([^)]*\)`)
	code    = regexp.MustCompile("`[^`]*`")
	item    = regexp.MustCompile(`^\s*(?:[-*]|\d+\.)\s+`)
	ending  = regexp.MustCompile(`([.!?])["')]*\s+`)
	heading = regexp.MustCompile(`^#+ `)
)

// proseOf returns the sentences of a Markdown text. A table cell and a list item
// end a sentence. Code counts as one word.
func proseOf(text string) (sentences []string) {
	text = fence.ReplaceAllString(text, "\n")
	text = code.ReplaceAllString(text, "CODE")
	text = link.ReplaceAllString(text, "$1")
	paragraph := ""
	flush := func() {
		for _, s := range strings.Split(ending.ReplaceAllString(strings.TrimSpace(paragraph), "$1\n"), "\n") {
			if s != "" {
				sentences = append(sentences, s)
			}
		}
		paragraph = ""
	}
	for _, line := range strings.Split(text, "\n") {
		switch {
		case strings.TrimSpace(line) == "", heading.MatchString(line), strings.HasPrefix(line, "    "), strings.HasPrefix(line, "\t"):
			flush()
		case strings.HasPrefix(line, "|"):
			flush()
			for _, cell := range strings.Split(line, "|") {
				paragraph = cell
				flush()
			}
		default:
			if item.MatchString(line) {
				flush()
				line = item.ReplaceAllString(line, "")
			}
			paragraph += line + " "
		}
	}
	flush()
	return sentences
}

// TestProseOf checks that the lint sees sentences where they are.
func TestProseOf(t *testing.T) {
	text := "# A heading. Not a sentence.\n\nOne is `code. here`. Two is\n[a link](x.y. z).\n\n- three\n- four! Five\n\n" +
		"| six | seven. Eight |\n|---|---|\n\n```\nnot. this.\n```\n"
	want := []string{"One is CODE.", "Two is a link.", "three", "four!", "Five", "six", "seven.", "Eight", "---", "---"}
	if got := proseOf(text); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got %q, want %q", got, want)
	}
}
