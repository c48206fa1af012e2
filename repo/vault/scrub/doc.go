// Package scrub finds what a place has damaged or lost, with no key, and puts
// back what is known to be right.
//
// Nouns:
//
//   - Scrubbing reads every object and compares it with the hashes, signatures
//     and names that the objects themselves carry (Verify). A Finding is one
//     object, or one frame of a pack, that is not as it was put.
//   - Healing puts the bytes that an object once had back in its place (Heal).
//     Where they come from is the caller's business: a replica, parity, or
//     whoever has the keys and the content. They are proven before they are
//     put.
//
// The package opens nothing and trusts nobody: what cannot be proven by a hash
// or a signature is not put. It never removes an object, save to put it back.
package scrub
