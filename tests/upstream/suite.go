//go:build upstream_suite

// Package upstream keeps the conformance suite's modules in go.mod; it is never built.
package upstream

import _ "k8s.io/kubernetes/test/e2e"
