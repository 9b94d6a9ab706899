// What Argo CD makes of objects: the code of its settings, health, action and diff packages, on what a cluster really has.
//
//	argo-cd-judge KUBECONFIG SETTINGS_NAMESPACE < requests > answers
//
// Requests and answers are JSON, one per line. SETTINGS_NAMESPACE has the ConfigMap argocd-cm, as an installation has it.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sort"

	"github.com/argoproj/argo-cd/v3/common"
	"github.com/argoproj/argo-cd/v3/pkg/apis/application/v1alpha1"
	argodiff "github.com/argoproj/argo-cd/v3/util/argo/diff"
	"github.com/argoproj/argo-cd/v3/util/argo/normalizers"
	"github.com/argoproj/argo-cd/v3/util/lua"
	"github.com/argoproj/argo-cd/v3/util/settings"
	"github.com/argoproj/gitops-engine/pkg/diff"
	"github.com/argoproj/gitops-engine/pkg/health"
	"github.com/argoproj/gitops-engine/pkg/utils/kube"
	"github.com/argoproj/gitops-engine/pkg/utils/tracing"
	"github.com/go-logr/logr"
	"github.com/sirupsen/logrus"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

type request struct {
	// What the cluster has.
	Live *unstructured.Unstructured `json:"live"`
	// What Git has; without it, nothing is compared.
	Target *unstructured.Unstructured `json:"target,omitempty"`
	// An action that is to be run.
	Action string `json:"action,omitempty"`
}

type answer struct {
	Error   string `json:"error,omitempty"`
	Health  string `json:"health"`
	Message string `json:"message"`
	// Names of the actions that are offered and enabled.
	Actions []string `json:"actions"`
	// The ways of comparing by which the object is out of sync.
	OutOfSync []string `json:"outOfSync"`
	// What the action wants to be written.
	Patched map[string]any `json:"patched,omitempty"`
}

type judge struct {
	overrides map[string]v1alpha1.ResourceOverride
	parser    *managedfields.GvkParser
	applier   diff.KubeApplier
}

func main() {
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(kubeconfig, namespace string) error {
	logrus.SetOutput(os.Stderr)
	logrus.SetLevel(logrus.WarnLevel)
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	overrides, err := settings.NewSettingsManager(ctx, client, namespace).GetResourceOverrides()
	if err != nil {
		return err
	}
	kubectl := &kube.KubectlCmd{Log: logr.Discard(), Tracer: tracing.NopTracer{}}
	schema, parser, err := kubectl.LoadOpenAPISchema(config)
	if err != nil {
		return err
	}
	applier, cleanup, err := kube.ManageServerSideDiffDryRuns(config, schema, kubectl.Tracer, kubectl.Log, nil)
	if err != nil {
		return err
	}
	defer cleanup()
	judge := judge{overrides: overrides, parser: parser, applier: applier}
	requests, answers := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for requests.More() {
		var request request
		if err := requests.Decode(&request); err != nil {
			return err
		}
		answer, err := judge.answer(request)
		if err != nil {
			answer.Error = err.Error()
		}
		if err := answers.Encode(answer); err != nil {
			return err
		}
	}
	return nil
}

func (j judge) answer(request request) (answer, error) {
	answer := answer{Actions: []string{}, OutOfSync: []string{}}
	live := request.Live
	status, err := health.GetResourceHealth(live, lua.ResourceHealthOverrides(j.overrides))
	if err != nil {
		return answer, err
	}
	if status != nil {
		answer.Health, answer.Message = string(status.Status), status.Message
	}
	vm := lua.VM{ResourceOverrides: j.overrides}
	scripts, err := vm.GetResourceActionDiscovery(live)
	if err != nil {
		return answer, err
	}
	actions, err := vm.ExecuteResourceActionDiscovery(live, scripts)
	if err != nil {
		return answer, err
	}
	for _, action := range actions {
		if !action.Disabled {
			answer.Actions = append(answer.Actions, action.Name)
		}
	}
	sort.Strings(answer.Actions)
	if request.Action != "" {
		if answer.Patched, err = patched(vm, live, request.Action); err != nil {
			return answer, err
		}
	}
	if request.Target != nil {
		answer.OutOfSync, err = j.compare(live, request.Target)
	}
	return answer, err
}

func patched(vm lua.VM, live *unstructured.Unstructured, name string) (map[string]any, error) {
	action, err := vm.GetResourceAction(live, name)
	if err != nil {
		return nil, err
	}
	impacted, err := vm.ExecuteResourceAction(live, action.ActionLua, nil)
	if err != nil {
		return nil, err
	}
	if len(impacted) != 1 || impacted[0].K8SOperation != lua.PatchOperation {
		return nil, fmt.Errorf("action %s is not a patch of the object itself", name)
	}
	return impacted[0].UnstructuredObj.Object, nil
}

// compare says by which of Argo CD's three ways of comparing the object is out of sync.
func (j judge) compare(live, target *unstructured.Unstructured) ([]string, error) {
	ways := []string{"three-way", "structured-merge", "server-side"}
	found := []string{}
	for _, way := range ways {
		builder := argodiff.NewDiffConfigBuilder().
			WithDiffSettings(nil, j.overrides, false, normalizers.IgnoreNormalizerOpts{}).
			WithTracking(common.LabelKeyAppInstance, string(v1alpha1.TrackingMethodAnnotation)).
			WithNoCache().
			WithGVKParser(j.parser).
			WithManager(common.ArgoCDSSAManager).
			WithStructuredMergeDiff(way == "structured-merge").
			WithServerSideDiff(way == "server-side").
			WithServerSideDryRunner(diff.NewK8sServerSideDryRunner(j.applier))
		config, err := builder.Build()
		if err != nil {
			return found, err
		}
		result, err := argodiff.StateDiff(live, target, config)
		if err != nil {
			return found, fmt.Errorf("%s: %w", way, err)
		}
		if result.Modified {
			found = append(found, way)
		}
	}
	return found, nil
}
