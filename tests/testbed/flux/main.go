// What the packages that Flux is made of say: kstatus, which decides what it waits for, and Kustomize.
//
//	flux-judge status < objects > answers
//	flux-judge build DIRECTORY > manifests
//
// Objects and answers are JSON values, one after the other; manifests are YAML.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

func main() {
	var err error
	switch {
	case len(os.Args) == 2 && os.Args[1] == "status":
		err = statuses()
	case len(os.Args) == 3 && os.Args[1] == "build":
		err = build(os.Args[2])
	default:
		err = fmt.Errorf("usage: flux-judge status | flux-judge build DIRECTORY")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func statuses() error {
	objects, answers := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for objects.More() {
		// Decoded by itself, because it keeps whole numbers whole.
		var object unstructured.Unstructured
		if err := objects.Decode(&object); err != nil {
			return err
		}
		result, err := status.Compute(&object)
		if err != nil {
			return err
		}
		answer := map[string]string{"status": string(result.Status), "message": result.Message}
		if err := answers.Encode(answer); err != nil {
			return err
		}
	}
	return nil
}

func build(directory string) error {
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), directory)
	if err != nil {
		return err
	}
	manifests, err := resources.AsYaml()
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(manifests)
	return err
}
