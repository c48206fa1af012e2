// Package power tells on what this machine lives at the moment: on its battery,
// and on a network that costs by the byte.
//
// It refuses to guess: what the host does not tell is [Unknown], and who asks
// then goes on as if there were no question.
package power

import "context"

// Answer is yes, no, or nobody knows.
type Answer uint8

// The answers.
const (
	Unknown Answer = iota
	No
	Yes
)

// String returns the answer in a word.
func (a Answer) String() string { return [...]string{"unknown", "no", "yes"}[min(a, Yes)] }

// MarshalText implements encoding.TextMarshaler.
func (a Answer) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (a *Answer) UnmarshalText(text []byte) error {
	*a = Unknown
	for _, known := range []Answer{No, Yes} {
		if string(text) == known.String() {
			*a = known
		}
	}
	return nil
}

// State is on what the machine lives.
type State struct {
	Battery Answer `json:"battery"` // it runs on a battery
	Metered Answer `json:"metered"` // its network costs by the byte
}

// Read asks the host.
func Read(ctx context.Context) State {
	return State{Battery: battery(ctx), Metered: metered(ctx)}
}

func answer(yes bool) Answer {
	if yes {
		return Yes
	}
	return No
}
