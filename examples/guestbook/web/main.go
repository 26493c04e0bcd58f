// Command web is the front tier of the guestbook: a page with the count of visits, which it gets
// from the counter tier by its Service's DNS name, and the names of the pods that answered.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"log"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
)

type visit struct {
	Count int64  `json:"count"`
	Pod   string `json:"pod"`
}

type page struct {
	Version, Pod, Node, Counter string
	Count                       int64
}

var html = template.Must(template.New("page").Parse(`<!doctype html>
<html lang="en"><head><title>Guestbook</title>
<style>body{font-family:sans-serif;max-width:40em;margin:4em auto;color:#3b2314}
h1{color:#a4502a}b{font-size:3em}code{background:#f3e6dc;padding:.1em .3em}</style></head>
<body><h1>Guestbook</h1>
<p><b>{{.Count}}</b> visits so far.</p>
<p>Version {{.Version}}. This page comes from pod <code>{{.Pod}}</code>{{with .Node}} on node <code>{{.}}</code>{{end}};
the count comes from pod <code>{{.Counter}}</code>.</p>
</body></html>
`))

// drain is how long the server keeps answering after SIGTERM, so that no request is lost while the
// pod's endpoint is being removed everywhere.
const drain = 2 * time.Second

type server struct {
	pod, node, version, counter string
	client                      *http.Client
	stopping                    atomic.Bool
}

func main() {
	pod, err := os.Hostname()
	if err != nil {
		log.Fatalf("web: no host name: %v", err)
	}
	s := &server{
		pod:     pod,
		node:    os.Getenv("NODE_NAME"),
		version: os.Getenv("GUESTBOOK_VERSION"),
		counter: value("COUNTER_URL", "http://counter:8080"),
		client:  &http.Client{Timeout: 3 * time.Second},
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.page)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusOK)
	})
	mux.HandleFunc("GET /readyz", s.ready)
	listener := &http.Server{Addr: ":8080", Handler: mux}

	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	stopped := make(chan struct{})
	go func() {
		<-stop.Done()
		s.stopping.Store(true)
		time.Sleep(drain)
		grace, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = listener.Shutdown(grace)
		close(stopped)
	}()
	log.Printf("web: %s listens on %s and counts at %s", pod, listener.Addr, s.counter)
	if err := listener.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatalf("web: %v", err)
	}
	<-stopped
}

func (s *server) ready(w http.ResponseWriter, _ *http.Request) {
	if s.stopping.Load() {
		http.Error(w, "stopping", http.StatusServiceUnavailable)
	}
}

func (s *server) page(w http.ResponseWriter, r *http.Request) {
	visit, err := s.visit(r.Context())
	if err != nil {
		log.Printf("web: %v", err)
		http.Error(w, "the counter does not answer: "+err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Guestbook-Pod", s.pod)
	w.Header().Set("Guestbook-Version", s.version)
	if s.stopping.Load() {
		w.Header().Set("Connection", "close")
	}
	data := page{Version: s.version, Pod: s.pod, Node: s.node, Counter: visit.Pod, Count: visit.Count}
	if err := html.Execute(w, data); err != nil {
		log.Printf("web: writing the page: %v", err)
	}
}

func (s *server) visit(ctx context.Context) (visit, error) {
	var v visit
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.counter+"/visits", nil)
	if err != nil {
		return v, err
	}
	response, err := s.client.Do(request)
	if err != nil {
		return v, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return v, fmt.Errorf("counter answered %s", response.Status)
	}
	return v, json.NewDecoder(response.Body).Decode(&v)
}

func value(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}
