package triage

import (
	"bytes"
	"compress/gzip"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func random(n int, seed byte) []byte {
	b := make([]byte, n)
	block, _ := aes.NewCipher(bytes.Repeat([]byte{seed}, 16))
	cipher.NewCTR(block, make([]byte, 16)).XORKeyStream(b, b)
	return b
}

func TestLooks(t *testing.T) {
	text := bytes.Repeat([]byte("It was a dark and stormy night; the rain fell in torrents. "), 100)
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write([]byte(base64.StdEncoding.EncodeToString(random(8000, 9))))
	_ = z.Close()
	for _, c := range []struct {
		name string
		head []byte
		odd  bool
	}{
		{"letter.txt", text, false},
		{"letter.txt", random(4096, 1), true},
		{"letter.txt", random(300, 2), true},
		{"tiny", random(200, 3), false}, // too short to tell
		{"photo.jpg", append([]byte("\xff\xd8\xff\xe0"), random(4000, 4)...), false},
		{"photo.jpg", random(4096, 5), true},
		{"photo.jpg", text, true}, // no picture: encrypted and written as text
		{"PHOTO.JPG", text, true},
		{"data", zipped.Bytes(), false},
		{"data.gz", zipped.Bytes(), false},
		{"blob", []byte(base64.StdEncoding.EncodeToString(random(4096, 6))), false},
		{"x.age", append([]byte("age-encryption.org/v1\n-> X25519 abc\n"), text...), true},
		{"x", append([]byte("Salted__"), text...), true},
		{"video.mp4", append([]byte("\x00\x00\x00\x20ftypisom"), random(4000, 7)...), false},
		{"zeros", make([]byte, 4096), false},
		{"", nil, false},
	} {
		if got := Looks(c.name, c.head); got != c.odd {
			t.Errorf("%s, %d bytes beginning %.10q: %v", c.name, len(c.head), c.head, got)
		}
	}
}

// TestLooksHere: of the programs, libraries and documents of this machine
// hardly one looks encrypted; encrypted, all do.
func TestLooksHere(t *testing.T) {
	total, odd, missed := 0, 0, 0
	for _, pattern := range []string{"/usr/bin/*", "/usr/lib/*/*.so*", "/usr/share/*/*", "/usr/share/doc/*/*", "/usr/share/man/man1/*"} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names[:min(len(names), 400)] {
			info, err := os.Stat(name)
			if err != nil || !info.Mode().IsRegular() || info.Size() < least {
				continue
			}
			f, err := os.Open(name)
			if err != nil {
				continue
			}
			head := make([]byte, Sample)
			n, _ := f.Read(head)
			_ = f.Close()
			total++
			if Looks(name, head[:n]) {
				odd++
				t.Log(name)
			}
			if !Looks(name, random(n, byte(total))) {
				missed++
			}
		}
	}
	if odd > total/200 || missed > total/200 {
		t.Errorf("of %d files %d look encrypted, and %d do not when they are", total, odd, missed)
	}
}

func FuzzLooks(f *testing.F) {
	f.Add("a.jpg", []byte("\xff\xd8\xff"))
	f.Add("a.", random(300, 1))
	f.Fuzz(func(t *testing.T, name string, head []byte) {
		if Looks(name, head) && len(head) < least {
			t.Errorf("%q, %q", name, head)
		}
		IsNote(name)
		IsKnown(name)
	})
}

func TestNames(t *testing.T) {
	for name, want := range map[string][2]bool{
		"HOW_TO_DECRYPT.txt": {true, false}, "_readme.txt": {true, false}, "README.txt": {}, "readme.md": {}, "restore-my-files.go": {},
		"a.doc.lockbit": {false, true}, "a.WNCRY": {false, true}, "locked": {}, "play": {}, "a.txt": {},
	} {
		if got := [2]bool{IsNote(name), IsKnown(name)}; got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestJudge: what is bad, and what is not.
func TestJudge(t *testing.T) {
	quiet := Counts{Files: 1000, Rewritten: 5, New: 3}
	for _, c := range []struct {
		what   string
		before []Counts
		run    Counts
		level  Level
	}{
		{"the first run", nil, Counts{Files: 1000, New: 1000, NewOdd: 1000}, Fine},
		{"an ordinary day", []Counts{quiet}, Counts{Files: 1000, Rewritten: 40, New: 20, Removed: 10, Spoiled: 1}, Fine},
		{"all is encrypted in place", []Counts{quiet}, Counts{Files: 1000, Rewritten: 990, Spoiled: 980}, Critical},
		{"a part of it", []Counts{quiet}, Counts{Files: 10000, Rewritten: 150, Spoiled: 140}, Critical},
		{"all has other names, too", []Counts{quiet}, Counts{Files: 1000, New: 990, NewOdd: 980, Removed: 990, Renamed: 990, Suffixed: 990, Suffix: "xyz"}, Critical},
		{"a small folder", []Counts{{Files: 15}}, Counts{Files: 15, Rewritten: 15, Spoiled: 15}, Fine},
		{"a note, and a few files", []Counts{quiet}, Counts{Files: 1000, New: 13, Known: 12, Notes: 1}, Critical},
		{"a note alone", []Counts{quiet}, Counts{Files: 1000, New: 1, Notes: 1}, Fine},
		{"a known suffix", []Counts{quiet}, Counts{Files: 1000, New: 30, Known: 30}, Warning},
		{"a folder of encrypted files, as always", []Counts{{Files: 500, Spoiled: 200, Rewritten: 300}}, Counts{Files: 500, Rewritten: 310, Spoiled: 250}, Fine},
		{"photos come", []Counts{quiet}, Counts{Files: 3000, New: 2000}, Fine},
		{"archives come", []Counts{quiet}, Counts{Files: 3000, New: 2000, NewOdd: 2000}, Fine},
		{"git gc", []Counts{quiet}, Counts{Files: 60, New: 4, Removed: 944, NewOdd: 0}, Fine},
		{"an upgrade", slices.Repeat([]Counts{quiet}, 9), Counts{Files: 1000, Rewritten: 500, New: 40, Removed: 30}, Fine},
		{"everything is rewritten, as never", slices.Repeat([]Counts{quiet}, 9), Counts{Files: 1000, Rewritten: 900}, Warning},
		{"everything is rewritten, as always", slices.Repeat([]Counts{{Files: 1000, Rewritten: 900}}, 9), Counts{Files: 1000, Rewritten: 950}, Fine},
		{"everything gets a suffix", []Counts{quiet}, Counts{Files: 1000, New: 900, Removed: 900, Renamed: 900, Suffixed: 900, Suffix: "pay"}, Warning},
		{"everything is compressed", []Counts{quiet}, Counts{Files: 1000, New: 900, Removed: 900, Renamed: 900, Suffixed: 900, Suffix: "gz"}, Fine},
	} {
		h := &History{}
		for i, b := range c.before {
			h.Add(Past{Sequence: uint64(i + 1), Counts: b})
		}
		if v := h.Judge(c.run); v.Level != c.level || (v.Level > Fine) != (len(v.Reasons) > 0) {
			t.Errorf("%s: %+v", c.what, v)
		}
	}
}

func TestHistory(t *testing.T) {
	h := &History{}
	for i := range 200 {
		h.Add(Past{Sequence: uint64(i), Suspect: i%2 == 0, Counts: Counts{Spoiled: uint64(i)}})
	}
	if len(h.Runs) != maxRuns || fmt.Sprint(h.Good(3)) != "[199 197 195]" {
		t.Errorf("%d, %v", len(h.Runs), h.Good(3))
	}
}
