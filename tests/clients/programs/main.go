// Command clients does with a cluster what operators do, through client-go and controller-runtime, and ends with an
// error when the cluster does not answer as a Kubernetes cluster must.
//
//	clients informers|leader|manager|envtest NAMESPACE
//
// The cluster is the one of KUBECONFIG.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// How long any of it may take.
const bound = 2 * time.Minute

var programs = map[string]func(context.Context, *rest.Config, string) error{
	"informers": informers,
	"leader":    leader,
	"manager":   manager,
	"envtest":   environment,
}

func main() {
	if len(os.Args) != 3 || programs[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: clients informers|leader|manager|envtest NAMESPACE")
		os.Exit(2)
	}
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), bound)
		defer cancel()
		err = programs[os.Args[1]](ctx, config, os.Args[2])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("ok")
}
