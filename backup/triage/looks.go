package triage

import (
	"bytes"
	"strings"
)

// Sample is how much of a file's beginning Looks asks for, in bytes.
const Sample = 4096

const (
	least  = 256 // bytes: less tells nothing
	glance = 64

	// even bounds the chi-square of the bytes against all values being equally
	// frequent. It has 255 degrees of freedom: of random bytes 255, and above
	// 400 once in a hundred million samples. Texts and programs have thousands.
	even = 400
)

// heads are how files of formats begin whose content is compressed by right.
var heads = []string{
	"PK\x03\x04", "PK\x05\x06", "\x1f\x8b", "BZh", "\xfd7zXZ\x00", "\x28\xb5\x2f\xfd", "\x04\x22\x4d\x18", "7z\xbc\xaf\x27\x1c", "Rar!", "LZIP", "\x1f\x9d",
	"\xff\xd8\xff", "\x89PNG", "GIF8", "II*\x00", "MM\x00*", "RIFF", "OggS", "fLaC", "ID3", "\xff\xfb", "\xff\xf3", "\xff\xf1", "\xff\xf9", "\x1aE\xdf\xa3", "\x00\x00\x01\xba", "\x00\x00\x01\xb3", "FLV",
	"%PDF", "%!PS", "\xd0\xcf\x11\xe0", "PACK", "DIRC", "\xfftOc", "\x78\x01", "\x78\x5e", "\x78\x9c", "\x78\xda", "wOFF", "wOF2",
	"tidm", "\x7fELF", "MZ", "!<arch>", "hsqs", "SQLite format 3", "BORG_SEG", "\xed\xab\xee\xdb", "Cr24", "OTTO", "\x00\x01\x00\x00", "\x00asm", "\xca\xfe\xba\xbe", "\xcf\xfa\xed\xfe", "glTF",
}

// sealed are how files begin that programs for encryption write.
var sealed = []string{"Salted__", "age-encryption.org/", "WANACRY!", "LUKS\xba\xbe"}

// proper are how files with a suffix begin, if they are what it says.
var proper = map[string][]string{
	"jpg": {"\xff\xd8\xff"}, "jpeg": {"\xff\xd8\xff"}, "png": {"\x89PNG"}, "gif": {"GIF8"}, "pdf": {"%PDF", "\xef\xbb\xbf%PDF"},
	"zip": {"PK"}, "docx": {"PK", "\xd0\xcf\x11\xe0"}, "xlsx": {"PK", "\xd0\xcf\x11\xe0"}, "pptx": {"PK", "\xd0\xcf\x11\xe0"}, "odt": {"PK"}, "ods": {"PK"}, "odp": {"PK"}, "jar": {"PK"}, "epub": {"PK"},
	"gz": {"\x1f\x8b"}, "tgz": {"\x1f\x8b"}, "xz": {"\xfd7zXZ"}, "zst": {"\x28\xb5\x2f\xfd"}, "7z": {"7z\xbc\xaf"}, "bz2": {"BZh"},
	"flac": {"fLaC", "ID3"}, "ogg": {"OggS"}, "mkv": {"\x1aE\xdf\xa3"}, "webm": {"\x1aE\xdf\xa3"}, "webp": {"RIFF"}, "sqlite": {"SQLite format 3"},
}

// Looks says whether a file looks encrypted by its beginning: its bytes are as
// random, without being of a format that is compressed by right; or it is not
// what its suffix says; or it says so itself.
func Looks(name string, head []byte) bool {
	head = head[:min(len(head), Sample)]
	if len(head) < least {
		return false
	}
	begins := func(with string) bool { return bytes.HasPrefix(head, []byte(with)) }
	for _, s := range sealed {
		if begins(s) {
			return true
		}
	}
	if i := strings.LastIndexByte(name, '.'); i >= 0 {
		if want := proper[strings.ToLower(name[i+1:])]; want != nil {
			for _, w := range want {
				if begins(w) {
					return false
				}
			}
			return true
		}
	}
	if isText(head[:glance]) {
		return false
	}
	for _, h := range heads {
		if begins(h) {
			return false
		}
	}
	if bytes.Equal(head[4:8], []byte("ftyp")) || bytes.Equal(head[4:8], []byte("moov")) || bytes.Equal(head[4:8], []byte("mdat")) {
		return false
	}
	return isRandom(head)
}

// isText says that no byte is above those of ASCII: of 64 random ones half are.
func isText(b []byte) bool {
	for _, c := range b {
		if c >= 0x80 {
			return false
		}
	}
	return true
}

func isRandom(b []byte) bool {
	var count [256]int
	for _, c := range b {
		count[c]++
	}
	expected := float64(len(b)) / 256
	sum := 0.0
	for _, n := range count {
		d := float64(n) - expected
		sum += d * d / expected
	}
	return sum < even
}
