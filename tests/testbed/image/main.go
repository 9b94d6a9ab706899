// What BuildKit makes of the Dockerfile of a directory, without building it: its own linter's complaints, the commands of every
// stage, the image that comes out, and the files of the directory that it would be sent. As JSON on standard output.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerui"
	"github.com/moby/buildkit/frontend/subrequests/lint"
	"github.com/moby/patternmatcher/ignorefile"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/tonistiigi/fsutil"
)

type plan struct {
	Complaints []string             `json:"complaints"`
	Stages     []stage              `json:"stages"`
	Image      ocispecs.ImageConfig `json:"image"`
	Context    []string             `json:"context"`
}

type stage struct {
	Name   string   `json:"name"`
	Base   string   `json:"base"`
	Runs   []string `json:"runs"`
	Copies []copied `json:"copies"`
}

type copied struct {
	From    string   `json:"from"`
	Sources []string `json:"sources"`
	To      string   `json:"to"`
}

// A base image without anything: nothing is fetched.
type nothing struct{}

func (nothing) ResolveImageConfig(_ context.Context, ref string, _ sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	return ref, "", []byte(`{"os":"linux","config":{}}`), nil
}

func main() {
	found, err := read(os.Args[1])
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(found)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func read(directory string) (found plan, err error) {
	text, err := os.ReadFile(filepath.Join(directory, "Dockerfile"))
	if err != nil {
		return found, err
	}
	platform := ocispecs.Platform{OS: "linux", Architecture: "amd64"}
	source := llb.NewSourceMap(nil, "Dockerfile", "Dockerfile", text)
	source.Definition = &llb.Definition{}
	options := dockerfile2llb.ConvertOpt{
		Config:         dockerui.Config{BuildPlatforms: []ocispecs.Platform{platform}},
		TargetPlatform: &platform,
		MetaResolver:   nothing{},
		SourceMap:      source,
	}
	linted, err := dockerfile2llb.DockerfileLint(context.Background(), text, options)
	if err != nil {
		return found, err
	}
	found.Complaints = complaints(linted)
	if linted.Error != nil {
		return found, nil
	}
	built, err := dockerfile2llb.Dockerfile2LLB(context.Background(), text, options)
	if err != nil {
		return found, err
	}
	found.Image = built.Image.Config.ImageConfig
	if found.Stages, err = stages(text); err != nil {
		return found, err
	}
	found.Context, err = sent(directory)
	return found, err
}

func complaints(linted *lint.LintResults) []string {
	found := []string{}
	for _, warning := range linted.Warnings {
		lines := []string{}
		for _, place := range warning.Location.GetRanges() {
			lines = append(lines, fmt.Sprint(place.Start.Line))
		}
		found = append(found, fmt.Sprintf("line %s: %s: %s", strings.Join(lines, ", "), warning.RuleName, warning.Detail))
	}
	if linted.Error != nil {
		found = append(found, linted.Error.Message)
	}
	return found
}

func stages(text []byte) ([]stage, error) {
	tree, err := parser.Parse(strings.NewReader(string(text)))
	if err != nil {
		return nil, err
	}
	parsed, _, err := instructions.Parse(tree.AST, nil)
	if err != nil {
		return nil, err
	}
	found := []stage{}
	for _, one := range parsed {
		result := stage{Name: one.Name, Base: one.BaseName, Runs: []string{}, Copies: []copied{}}
		for _, command := range one.Commands {
			switch command := command.(type) {
			case *instructions.RunCommand:
				result.Runs = append(result.Runs, strings.Join(command.CmdLine, " "))
			case *instructions.CopyCommand:
				result.Copies = append(result.Copies, copied{command.From, command.SourcePaths, command.DestPath})
			}
		}
		found = append(found, result)
	}
	return found, nil
}

// The files that .dockerignore leaves.
func sent(directory string) ([]string, error) {
	excluded := []string{}
	file, err := os.Open(filepath.Join(directory, ".dockerignore"))
	if err == nil {
		defer file.Close()
		excluded, err = ignorefile.ReadAll(io.Reader(file))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	all, err := fsutil.NewFS(directory)
	if err != nil {
		return nil, err
	}
	left, err := fsutil.NewFilterFS(all, &fsutil.FilterOpt{ExcludePatterns: excluded})
	if err != nil {
		return nil, err
	}
	found := []string{}
	err = left.Walk(context.Background(), "", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			found = append(found, path)
		}
		return err
	})
	return found, err
}
