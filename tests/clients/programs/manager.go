package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	controllerruntime "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// The kind that the manager looks after.
var gadget = schema.GroupVersionKind{Group: "clients.corten.test", Version: "v1", Kind: "Gadget"}

func definition() *apiextensions.CustomResourceDefinition {
	keep := true
	return &apiextensions.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "gadgets.clients.corten.test"},
		Spec: apiextensions.CustomResourceDefinitionSpec{
			Group: gadget.Group,
			Names: apiextensions.CustomResourceDefinitionNames{Plural: "gadgets", Singular: "gadget", Kind: gadget.Kind, ListKind: "GadgetList"},
			Scope: apiextensions.NamespaceScoped,
			Versions: []apiextensions.CustomResourceDefinitionVersion{{
				Name: gadget.Version, Served: true, Storage: true,
				Schema: &apiextensions.CustomResourceValidation{OpenAPIV3Schema: &apiextensions.JSONSchemaProps{
					Type: "object", XPreserveUnknownFields: &keep,
				}},
				Subresources: &apiextensions.CustomResourceSubresources{Status: &apiextensions.CustomResourceSubresourceStatus{}},
			}},
		},
	}
}

// environment installs a definition with envtest on the cluster and takes it away again.
func environment(_ context.Context, config *rest.Config, _ string) error {
	existing := true
	test := &envtest.Environment{
		UseExistingCluster: &existing,
		Config:             config,
		CRDInstallOptions: envtest.CRDInstallOptions{
			CRDs:            []*apiextensions.CustomResourceDefinition{definition()},
			CleanUpAfterUse: true,
			MaxTime:         30 * time.Second,
			PollInterval:    50 * time.Millisecond,
		},
	}
	if _, err := test.Start(); err != nil {
		return fmt.Errorf("starting: %w", err)
	}
	return test.Stop()
}

// manager runs a controller on a custom resource that owns a ConfigMap: finalizer, status, owner and deletion.
func manager(ctx context.Context, config *rest.Config, namespace string) error {
	installed, err := envtest.InstallCRDs(config, envtest.CRDInstallOptions{CRDs: []*apiextensions.CustomResourceDefinition{definition()}})
	if err != nil {
		return fmt.Errorf("installing the definition: %w", err)
	}
	defer func() { _ = envtest.UninstallCRDs(config, envtest.CRDInstallOptions{CRDs: installed}) }()
	mgr, err := controllerruntime.NewManager(config, controllerruntime.Options{
		Cache:   cache.Options{DefaultNamespaces: map[string]cache.Config{namespace: {}}},
		Metrics: server.Options{BindAddress: "0"},
	})
	if err != nil {
		return err
	}
	kind := &unstructured.Unstructured{}
	kind.SetGroupVersionKind(gadget)
	err = controllerruntime.NewControllerManagedBy(mgr).For(kind).Owns(&corev1.ConfigMap{}).Complete(&looksAfter{mgr.GetClient()})
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(running) }()
	err = exercise(ctx, mgr.GetAPIReader(), mgr.GetClient(), namespace)
	stop()
	return errors.Join(err, <-ended)
}

const finalizer = "clients.corten.test/tidy"

type looksAfter struct{ client.Client }

func (l *looksAfter) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	one := &unstructured.Unstructured{}
	one.SetGroupVersionKind(gadget)
	if err := l.Get(ctx, request.NamespacedName, one); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if !one.GetDeletionTimestamp().IsZero() {
		if controllerutil.RemoveFinalizer(one, finalizer) {
			return reconcile.Result{}, l.Update(ctx, one)
		}
		return reconcile.Result{}, nil
	}
	if controllerutil.AddFinalizer(one, finalizer) {
		return reconcile.Result{}, l.Update(ctx, one)
	}
	child := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: one.GetNamespace(), Name: one.GetName()}}
	if _, err := controllerutil.CreateOrUpdate(ctx, l.Client, child, func() error {
		child.Data = map[string]string{"generation": fmt.Sprint(one.GetGeneration())}
		return controllerutil.SetControllerReference(one, child, l.Scheme())
	}); err != nil {
		return reconcile.Result{}, err
	}
	seen, _, _ := unstructured.NestedInt64(one.Object, "status", "seen")
	if seen == one.GetGeneration() {
		return reconcile.Result{}, nil
	}
	if err := unstructured.SetNestedField(one.Object, one.GetGeneration(), "status", "seen"); err != nil {
		return reconcile.Result{}, err
	}
	return reconcile.Result{}, l.Status().Update(ctx, one)
}

func exercise(ctx context.Context, reader client.Reader, writer client.Client, namespace string) error {
	one := &unstructured.Unstructured{}
	one.SetGroupVersionKind(gadget)
	one.SetNamespace(namespace)
	one.SetName("one")
	if err := writer.Create(ctx, one); err != nil {
		return err
	}
	key := client.ObjectKeyFromObject(one)
	until := func(what string, holds func() bool) error {
		err := wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, 30*time.Second, true, func(ctx context.Context) (bool, error) {
			return holds(), nil
		})
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		return nil
	}
	child := &corev1.ConfigMap{}
	reconciled := func(generation int64) func() bool {
		return func() bool {
			if reader.Get(ctx, key, one) != nil || reader.Get(ctx, key, child) != nil {
				return false
			}
			seen, _, _ := unstructured.NestedInt64(one.Object, "status", "seen")
			return seen == generation && child.Data["generation"] == fmt.Sprint(generation)
		}
	}
	if err := until("the first generation is reconciled", reconciled(1)); err != nil {
		return err
	}
	patch := client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"size":2}}`))
	if err := writer.Patch(ctx, one, patch); err != nil {
		return err
	}
	if err := until("the second generation is reconciled", reconciled(2)); err != nil {
		return err
	}
	if err := writer.Delete(ctx, one); err != nil {
		return err
	}
	return until("the object and what it owned are gone", func() bool {
		return client.IgnoreNotFound(reader.Get(ctx, key, one)) == nil && reader.Get(ctx, key, one) != nil &&
			client.IgnoreNotFound(reader.Get(ctx, key, child)) == nil && reader.Get(ctx, key, child) != nil
	})
}
