package wine

import (
	"bytes"
	"encoding/binary"
)

// forwarder returns a library for Windows on amd64 whose one function is one of
// another library:
//
//	headers        0x000  DOS, PE, optional header, one section
//	export table   0x200  loaded at 0x1000: directory, address, name, number, strings
//
// Go programs need ProcessPrng of bcryptprimitives.dll, which Wine 8 has not;
// RtlGenRandom, in advapi32.dll under the name SystemFunction036, does the same
// for the same arguments.
func forwarder(library, name, target string) []byte {
	const base = 0x1000
	texts := []string{library, name, target}
	offset := uint32(40 + 4 + 4 + 4)
	var at [3]uint32
	for i, text := range texts {
		at[i] = base + offset
		offset += uint32(len(text)) + 1
	}
	var table bytes.Buffer
	put := func(b *bytes.Buffer, values ...any) {
		for _, v := range values {
			_ = binary.Write(b, binary.LittleEndian, v) // a Buffer never fails
		}
	}
	put(&table, uint32(0), uint32(0), uint32(0), at[0], uint32(1), uint32(1), uint32(1), uint32(base+40), uint32(base+44), uint32(base+48))
	put(&table, at[2], at[1], uint16(0), uint16(0)) // an address within the table is a forward
	for _, text := range texts {
		table.WriteString(text + "\x00")
	}

	var b bytes.Buffer
	b.WriteString("MZ")
	b.Write(make([]byte, 58))
	put(&b, uint32(64))
	b.WriteString("PE\x00\x00")
	put(&b, uint16(0x8664), uint16(1), uint32(0), uint32(0), uint32(0), uint16(240), uint16(0x2022))
	put(&b, uint16(0x20b), uint16(0), uint32(0), uint32(0x200), uint32(0), uint32(0), uint32(base)) // no code, no entry
	put(&b, uint64(0x180000000), uint32(0x1000), uint32(0x200), uint16(6), uint16(0), uint16(0), uint16(0), uint16(6), uint16(0))
	put(&b, uint32(0), uint32(0x2000), uint32(0x200), uint32(0), uint16(3), uint16(0x100))
	put(&b, uint64(0x100000), uint64(0x1000), uint64(0x100000), uint64(0x1000), uint32(0), uint32(16))
	put(&b, uint32(base), uint32(table.Len()))
	b.Write(make([]byte, 15*8))
	b.WriteString(".edata\x00\x00")
	put(&b, uint32(table.Len()), uint32(base), uint32(0x200), uint32(0x200), uint32(0), uint32(0), uint16(0), uint16(0), uint32(0x40000040))
	b.Write(make([]byte, 0x200-b.Len()))
	b.Write(table.Bytes())
	b.Write(make([]byte, 0x400-b.Len()))
	return b.Bytes()
}
