package scrub

import "fmt"

// Kind says what is wrong with an object.
type Kind uint8

// The kinds of finding.
const (
	Damaged    Kind = iota // its bytes are not those that were put
	Missing                // something that is kept needs it, and it is not there
	Foreign                // it is another object's, or another repository's
	Unreadable             // the place fails to read it
)

var kindTexts = [...]string{Damaged: "damaged", Missing: "missing", Foreign: "foreign", Unreadable: "unreadable"}

// String returns the kind in one word.
func (k Kind) String() string { return kindTexts[k] }

// Finding is one object, or one frame of a pack, that is not as it was put.
type Finding struct {
	Object string // its name in the store
	Frame  int    // number of the frame of the pack; -1: the whole object, or its head
	Kind   Kind
	Err    error  // what is wrong with it
	Point  uint64 // sequence of a point that needs what is missing; 0: none is known
}

// String returns the finding as one line.
func (f Finding) String() string { return fmt.Sprintf("%s: %s: %v", f.Kind, f.Object, f.Err) }
