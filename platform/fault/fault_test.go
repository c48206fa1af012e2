package fault

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"syscall"
	"testing"
)

func TestEveryKindHasItsText(t *testing.T) {
	seen := map[string]Kind{}
	for k := range Kind(NumKinds) {
		text := k.Error()
		if text == "" {
			t.Errorf("kind %d has no text", k)
		}
		if other, dup := seen[text]; dup {
			t.Errorf("kinds %d and %d share the text %q", k, other, text)
		}
		seen[text] = k
	}
}

func TestKindOf(t *testing.T) {
	_, noFile := os.Open("/does/not/exist")
	for _, c := range []struct {
		err  error
		want Kind
	}{
		{fmt.Errorf("open pack: %w", Corrupt), Corrupt},
		{fmt.Errorf("outer: %w", fmt.Errorf("inner: %w", Locked)), Locked},
		{noFile, NotExist},
		{context.Canceled, Canceled},
		{context.DeadlineExceeded, Unavailable},
		{&os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}, NoSpace},
		{syscall.EROFS, ReadOnly},
		{syscall.EACCES, Denied},
		{errors.New("anything"), Internal},
	} {
		if got := KindOf(c.err); got != c.want {
			t.Errorf("KindOf(%v) = %v, want %v", c.err, got, c.want)
		}
	}
}

func TestKindsAnswerTheStandardLibrary(t *testing.T) {
	err := fmt.Errorf("get: %w", NotExist)
	if !errors.Is(err, iofs.ErrNotExist) {
		t.Error("NotExist is not iofs.ErrNotExist")
	}
	if errors.Is(err, iofs.ErrExist) {
		t.Error("NotExist is iofs.ErrExist")
	}
}
