package journal

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// keepSamples is how long samples of places are kept.
const keepSamples = 3 * 366 * 24 * time.Hour

// PutPlace keeps what is known of a repository's place.
func (t *Tx) PutPlace(address string, v any) error { return t.put("places", []byte(address), v) }

// Place reads what is known of a place into v; false: nothing is.
func (t *Tx) Place(address string, v any) (bool, error) {
	return t.get("places", []byte(address), v)
}

// sampleKey orders samples by place and day.
func sampleKey(address string, at time.Time) []byte {
	return []byte(address + "\x00" + at.UTC().Format(time.DateOnly))
}

// PutSample keeps how a place was on a day: the last of that day.
func (t *Tx) PutSample(address string, at time.Time, v any) error {
	key := sampleKey(address, at)
	c := t.tx.Bucket([]byte("samples")).Cursor()
	for k, _ := c.Seek(sampleKey(address, time.Time{})); k != nil && string(k) < string(sampleKey(address, at.Add(-keepSamples))); k, _ = c.Next() {
		if err := c.Delete(); err != nil {
			return err
		}
	}
	return t.put("samples", key, v)
}

// Samples calls take with the samples of a place since a day, ascending; take
// decodes each.
func (t *Tx) Samples(address string, since time.Time, take func(decode func(any) error) error) error {
	c := t.tx.Bucket([]byte("samples")).Cursor()
	end := address + "\x00\xff"
	for k, v := c.Seek(sampleKey(address, since)); k != nil && string(k) < end; k, v = c.Next() {
		err := take(func(to any) error {
			if err := json.Unmarshal(v, to); err != nil {
				return fmt.Errorf("sample %q: %w: %w", k, err, fault.Corrupt)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
