package webdav

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// serving answers on a free port of 127.0.0.1, over TLS if config is not nil.
func serving(t *testing.T, h http.Handler, config *tls.Config) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, l, h, config, slog.New(slog.DiscardHandler)) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

func TestOneAddressHasNotAllConnections(t *testing.T) {
	l := newLimited(nil, 10, 4)
	for i := range 6 {
		if got := l.take("1.1.1.1"); got != (i < 4) {
			t.Errorf("connection %d: %v", i, got)
		}
	}
	for range 6 { // this machine: the rest
		if !l.take("") {
			t.Error("refused below the bound")
		}
	}
	if l.take("2.2.2.2") {
		t.Error("more than all")
	}
	l.give("1.1.1.1")
	if !l.take("2.2.2.2") || l.from["1.1.1.1"] != 3 {
		t.Error("what was given back is not free")
	}
	for address, want := range map[string]string{"127.0.0.1": "", "::1": "", "10.0.0.7": "10.0.0.7", "2001:db8::1": "2001:db8::", "2001:db8::ffff": "2001:db8::"} {
		if got := addressOf(&net.TCPAddr{IP: net.ParseIP(address)}); got != want {
			t.Errorf("%s counts as %q", address, got)
		}
	}
}

// A hundred clients, of whom many read nothing of what they asked for, and many
// say nothing at all: the others get theirs, and memory stays bounded.
func TestSlowAndHalfOpenClients(t *testing.T) {
	content := strings.Repeat("0123456789abcdef", 1<<16) // 1 MiB
	s := newShare(t, text("/big", content), text("/small", "hello"))
	address := serving(t, s.h, nil)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range 300 {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		switch i % 3 {
		case 0: // half-open
			_, err = io.WriteString(c, "GET /")
		case 1: // asks, and reads nothing
			_, err = io.WriteString(c, "GET "+top+"/big HTTP/1.1\r\nHost: x\r\n\r\n")
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	var wait sync.WaitGroup
	errs := make(chan error, 100)
	for range 100 {
		wait.Go(func() {
			r, err := http.Get("http://" + address + top + "/small")
			if err == nil {
				var b []byte
				b, err = io.ReadAll(r.Body)
				_ = r.Body.Close()
				if err == nil && string(b) != "hello" {
					err = fmt.Errorf("got %q", b)
				}
			}
			errs <- err
		})
	}
	wait.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 64<<20 {
		t.Errorf("400 clients take %d MiB", grown>>20)
	}
}

// A client that reads slowly, but reads, gets all.
func TestASlowClientGetsAll(t *testing.T) {
	content := strings.Repeat("0123456789abcdef", 1<<17) // 2 MiB
	s := newShare(t, text("/big", content))
	c, err := net.Dial("tcp", serving(t, s.h, nil))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET "+top+"/big HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	r, err := http.ReadResponse(bufio.NewReaderSize(c, 512), nil)
	if err != nil {
		t.Fatal(err)
	}
	got := 0
	for buf := make([]byte, 64<<10); ; time.Sleep(5 * time.Millisecond) {
		n, err := r.Body.Read(buf)
		got += n
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if got != len(content) {
		t.Errorf("%d bytes", got)
	}
}

// HTTP/2 with many streams on one connection, some of which nobody reads.
func TestManyStreamsOfOneConnection(t *testing.T) {
	s := newShare(t, text("/big", strings.Repeat("x", 4<<20)), text("/small", "hello"))
	c, err := Certificate(filepath.Join(t.TempDir(), "c"), []string{"127.0.0.1"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	address := serving(t, s.h, &tls.Config{Certificates: []tls.Certificate{c}})
	client := &http.Client{Transport: &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	for range maxStreams - 2 {
		r, err := client.Get("https://" + address + top + "/big")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		if r.ProtoMajor != 2 {
			t.Fatalf("%s", r.Proto)
		}
	}
	r, err := client.Get("https://" + address + top + "/small")
	if err != nil {
		t.Fatal(err)
	}
	if body := read(t, r); body != "hello" {
		t.Errorf("%q", body)
	}
}
