package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	kube "k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// Objects that informers are tried with.
const objects = 50

// informers makes, changes and deletes objects and checks that a shared informer with a selector was told of each
// change of the selected ones, and ends with the state of the server.
func informers(ctx context.Context, config *rest.Config, namespace string) error {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	var lock sync.Mutex
	added, updated, deleted := 0, 0, 0
	count := func(counter *int) { lock.Lock(); *counter++; lock.Unlock() }
	factory := kube.NewSharedInformerFactoryWithOptions(client, 0, kube.WithNamespace(namespace),
		kube.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = "chosen=yes" }))
	informer := factory.Core().V1().ConfigMaps().Informer()
	if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { count(&added) },
		UpdateFunc: func(any, any) { count(&updated) },
		DeleteFunc: func(any) { count(&deleted) },
	}); err != nil {
		return err
	}
	factory.Start(ctx.Done())
	for kind, synced := range factory.WaitForCacheSync(ctx.Done()) {
		if !synced {
			return fmt.Errorf("the informer of %v did not sync", kind)
		}
	}
	maps := client.CoreV1().ConfigMaps(namespace)
	for i := range objects {
		one := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("informed-%d", i),
			Labels: map[string]string{"chosen": map[bool]string{true: "yes", false: "no"}[i%2 == 0]}}}
		if _, err := maps.Create(ctx, one, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	// Half of the objects change; those not chosen come into the selection by it.
	for i := range objects / 2 {
		one, err := maps.Get(ctx, fmt.Sprintf("informed-%d", i), metav1.GetOptions{})
		if err != nil {
			return err
		}
		one.Labels["chosen"] = "yes"
		one.Data = map[string]string{"changed": "yes"}
		if _, err := maps.Update(ctx, one, metav1.UpdateOptions{}); err != nil {
			return err
		}
	}
	if err := maps.Delete(ctx, "informed-0", metav1.DeleteOptions{}); err != nil {
		return err
	}
	// 25 were chosen at first and 12 came in; 13 of the chosen changed; one went.
	want := []int{37, 13, 1}
	var got []int
	err = wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, 30*time.Second, true, func(context.Context) (bool, error) {
		lock.Lock()
		defer lock.Unlock()
		got = []int{added, updated, deleted}
		return slices.Equal(got, want), nil
	})
	if err != nil {
		return fmt.Errorf("added, updated, deleted: got %v, want %v: %w", got, want, err)
	}
	if kept := len(informer.GetStore().List()); kept != 36 {
		return fmt.Errorf("the informer keeps %d objects, want 36", kept)
	}
	return nil
}

// leader lets two candidates contend for one Lease: one leads, and the other takes over when it lets go.
func leader(ctx context.Context, config *rest.Config, namespace string) error {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	leads := make(chan string, 2)
	run := func(ctx context.Context, identity string) {
		leaderelection.RunOrDie(ctx, leaderelection.LeaderElectionConfig{
			Lock: &resourcelock.LeaseLock{
				LeaseMeta:  metav1.ObjectMeta{Namespace: namespace, Name: "candidates"},
				Client:     client.CoordinationV1(),
				LockConfig: resourcelock.ResourceLockConfig{Identity: identity},
			},
			LeaseDuration:   4 * time.Second,
			RenewDeadline:   3 * time.Second,
			RetryPeriod:     200 * time.Millisecond,
			ReleaseOnCancel: true,
			Callbacks: leaderelection.LeaderCallbacks{
				OnStartedLeading: func(context.Context) { leads <- identity },
				OnStoppedLeading: func() {},
			},
		})
	}
	first, stop := context.WithCancel(ctx)
	go run(first, "a")
	if err := expect(ctx, leads, "a"); err != nil {
		stop()
		return err
	}
	go run(ctx, "b")
	select {
	case who := <-leads:
		stop()
		return fmt.Errorf("%s leads beside a", who)
	case <-time.After(2 * time.Second):
	}
	stop()
	return expect(ctx, leads, "b")
}

func expect(ctx context.Context, leads <-chan string, want string) error {
	select {
	case who := <-leads:
		if who != want {
			return fmt.Errorf("%s leads, want %s", who, want)
		}
		return nil
	case <-ctx.Done():
		return errors.New("nobody leads")
	}
}
