// Command counter is the back tier of the guestbook: it counts visits, in memory.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"log"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
)

// Visit is what the web tier gets for each visit that it reports.
type Visit struct {
	Count int64  `json:"count"`
	Pod   string `json:"pod"`
}

func main() {
	pod, err := os.Hostname()
	if err != nil {
		log.Fatalf("counter: no host name: %v", err)
	}
	var count atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("POST /visits", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, Visit{Count: count.Add(1), Pod: pod})
	})
	mux.HandleFunc("GET /visits", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, Visit{Count: count.Load(), Pod: pod})
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusOK)
	})
	server := &http.Server{Addr: ":8080", Handler: mux}

	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	go func() {
		<-stop.Done()
		grace, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = server.Shutdown(grace)
	}()
	log.Printf("counter: %s listens on %s", pod, server.Addr)
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatalf("counter: %v", err)
	}
}

func answer(w http.ResponseWriter, visit Visit) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(visit); err != nil {
		log.Printf("counter: answering: %v", err)
	}
}
