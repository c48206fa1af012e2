package repo

import "encoding/binary"

// Type says how much the files of a point fit together.
type Type uint8

// The types, from the best to the least.
const (
	Untyped     Type = iota // points of versions that did not say
	Application             // programs had been told to write what they had, or wrote it themselves
	FileSystem              // one moment, which the file system had been told of
	Crash                   // one moment, as after a loss of power
	Live                    // each file at the moment at which it was read
	numTypes
)

// String returns the type in a word.
func (t Type) String() string {
	return [...]string{Untyped: "", Application: "application", FileSystem: "file-system", Crash: "crash", Live: "live"}[min(t, numTypes-1)]
}

// Consistency is the type of a point and what it rests on.
type Consistency struct {
	Type Type
	Why  string // for people; at most maxWhy bytes
}

const maxWhy = 4096

func appendConsistency(c Consistency) []byte {
	return appendString([]byte{byte(c.Type)}, c.Why[:min(len(c.Why), maxWhy)])
}

// consistency reads a type; one of a later version is as good as none.
func (r *bodyReader) consistency() (c Consistency) {
	b := r.take(1)
	if b == nil {
		return c
	}
	if c.Type = Type(b[0]); c.Type >= numTypes {
		c.Type = Untyped
	}
	if c.Why = r.string(); len(c.Why) > maxWhy {
		r.fail("too long a reason")
	}
	return c
}

// maxReasons bounds why a point is suspect; each is at most maxWhy bytes.
const maxReasons = 32

func appendSuspect(list []string) []byte {
	list = list[:min(len(list), maxReasons)]
	b := binary.AppendUvarint(nil, uint64(len(list)))
	for _, s := range list {
		b = appendString(b, s[:min(len(s), maxWhy)])
	}
	return b
}

func (r *bodyReader) suspect() (list []string) {
	n := r.count()
	if n > maxReasons {
		r.fail("too many reasons")
	}
	for ; n > 0 && r.err == nil; n-- {
		s := r.string()
		if len(s) > maxWhy {
			r.fail("too long a reason")
		}
		list = append(list, s)
	}
	return list
}
