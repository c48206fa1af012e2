// Package access says what a user may see of a recovery point: exactly what
// the server that was backed up let him see, by owner, mode bits and POSIX
// access control lists of the file and of every folder above it.
//
// Nouns: a User is somebody by the numbers of that server. A View is the tree
// as he may see it; front ends that serve several users give each request one.
//
// The rules are those of the Linux kernel (acl_permission_check and
// posix_acl_permission), with no capabilities: an administrator is a User who
// may see everything, and everybody else is judged by numbers alone. A number
// that nobody has is nobody's, so it lets nobody in. A mount needs none of
// this: there the kernel decides.
//
// Who an account is stands in the file of accounts by number, or as a name: then
// each point says which number and groups that name had on the server when it
// was made. So a name that was given to somebody else opens to him what was his
// predecessor's in older points; for such a name the numbers are to be given.
//
// What a View refuses is fault.Denied, and so is anything in a folder that may
// not be entered, whether it exists or not.
package access

import (
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/tidemark-backup/tidemark/fs"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/platform/meta"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/table"
)

// User is somebody by the numbers of the server that was backed up.
type User struct {
	Name   string // for logs
	UID    uint32
	Groups []uint32 // all of his groups, the first one too
	Admin  bool     // may see everything

	// Server is his name on the server. If it is set, UID and Groups are not,
	// and each point says which these were when it was made. In a point that
	// does not know the name, or no names at all, he is let in nowhere: not as
	// a stranger, whom a file may grant what it denies a group.
	Server string
}

// at returns who the user is in a point, nil for nobody.
func (u *User) at(p *repo.Point) *User {
	if u.Server == "" || u.Admin {
		return u
	}
	i, ok := slices.BinarySearchFunc(p.ServerUsers, u.Server, func(s meta.ServerUser, name string) int { return strings.Compare(s.Name, name) })
	if !ok || p.ServerUsers[i].UID == 0 {
		return nil // whose name says that he is the superuser is not: accounts with Admin are
	}
	s := &p.ServerUsers[i]
	return &User{Name: u.Name, UID: s.UID, Groups: s.Groups}
}

// what somebody wants of a file or folder, as bits of a mode.
type want uint16

const (
	enter want = 1 // look up a name in a folder
	list  want = 4 // read a folder's names
	read  want = 4 // read a file's content
)

// may says whether the user is granted what he wants of an entry.
func (u *User) may(e *table.Entry, w want) bool {
	mode := want(e.Mode)
	if u.Admin {
		return true
	}
	if u.UID == e.UID {
		return mode>>6&w == w
	}
	if mode&0o070 != 0 { // else the list cannot grant anything to anybody, as in the kernel
		if acl, ok := parseACL(attribute(e, aclName)); ok {
			return u.byList(e, acl, w)
		}
	}
	if u.in(e.GID) {
		return mode>>3&w == w
	}
	return mode&w == w
}

func (u *User) in(group uint32) bool { return slices.Contains(u.Groups, group) }

// aclName is the attribute that holds the access control list.
const aclName = "system.posix_acl_access"

func attribute(e *table.Entry, name string) []byte {
	i, ok := slices.BinarySearchFunc(e.Xattrs, name, func(x table.Xattr, name string) int { return strings.Compare(x.Name, name) })
	if !ok {
		return nil
	}
	return e.Xattrs[i].Value
}

// rule is an entry of a list.
type rule struct {
	tag  uint16
	perm want
	id   uint32
}

// The tags of rules, from linux/posix_acl.h.
const (
	tagOwner  = 0x01
	tagUser   = 0x02
	tagGroup  = 0x04 // the file's group
	tagGroups = 0x08 // another group
	tagMask   = 0x10
	tagOther  = 0x20

	maxRules = 8192 // 64 KiB of attribute
)

// parseACL reads the attribute as Linux gives it: u32 version 2, then u16 tag,
// u16 permissions, u32 ID each. Something else is no list, and ok is false.
func parseACL(b []byte) (rules []rule, ok bool) {
	if len(b) < 4 || (len(b)-4)%8 != 0 || binary.LittleEndian.Uint32(b) != 2 || len(b) > 4+8*maxRules {
		return nil, false
	}
	for b = b[4:]; len(b) > 0; b = b[8:] {
		rules = append(rules, rule{binary.LittleEndian.Uint16(b), want(binary.LittleEndian.Uint16(b[2:])), binary.LittleEndian.Uint32(b[4:])})
	}
	return rules, len(rules) > 0
}

// byList judges by an access control list somebody who is not the owner. The
// first rule for a user counts alone; of those for groups any that grants.
func (u *User) byList(e *table.Entry, rules []rule, w want) bool {
	mask, grouped, granted := want(7), false, false
	for _, r := range rules {
		if r.tag == tagMask {
			mask = r.perm
		}
	}
	for _, r := range rules {
		switch {
		case r.tag == tagUser && r.id == u.UID:
			return r.perm&mask&w == w
		case r.tag == tagGroup && u.in(e.GID), r.tag == tagGroups && u.in(r.id):
			grouped = true
			granted = granted || r.perm&mask&w == w
		}
	}
	if grouped {
		return granted
	}
	for _, r := range rules {
		if r.tag == tagOther {
			return r.perm&w == w
		}
	}
	return false
}

// View is a tree as one user may see it. Nodes that a View has not given may
// be asked for only by who has checked the way to them: a View judges each
// step, so a path is judged by walking it from the root.
type View struct {
	tree *fs.Tree
	user *User
	last atomic.Pointer[identity]
}

// identity is who the user of a View is in a point, the last one asked for.
type identity struct {
	point *repo.Point
	user  *User
}

func (v *View) userAt(p *repo.Point) *User {
	if v.user.Server == "" {
		return v.user
	}
	if l := v.last.Load(); l != nil && l.point == p {
		return l.user
	}
	u := v.user.at(p)
	v.last.Store(&identity{p, u})
	return u
}

// New returns what the user may see of a tree. The tree must show owners and
// modes as they were (fs.Options.Owner and Open unset).
func New(tree *fs.Tree, user *User) *View { return &View{tree: tree, user: user} }

// check refuses what the user may not do with a node. What is in no point is
// everybody's, and a made-up folder as much his as the one that it tells about.
func (v *View) check(ctx context.Context, n fs.Node, w want) error {
	if v.user.Admin || !v.tree.Fixed(n) && !v.tree.MadeUp(n) {
		return nil
	}
	e, p, err := v.tree.Entry(ctx, n)
	if err != nil {
		return err
	}
	if u := v.userAt(p); u == nil || !u.may(e, w) {
		return fmt.Errorf("user %s may not open it: %w", v.user.Name, fault.Denied)
	}
	return nil
}

// Attr describes a node.
func (v *View) Attr(ctx context.Context, n fs.Node) (fs.Attr, error) { return v.tree.Attr(ctx, n) }

// Lookup finds a name in a folder that the user may enter. In a made-up folder
// what he could not reach in its own point is not there.
func (v *View) Lookup(ctx context.Context, parent fs.Node, name string) (fs.Attr, error) {
	if err := v.check(ctx, parent, enter); err != nil {
		return fs.Attr{}, err
	}
	a, err := v.tree.Lookup(ctx, parent, name)
	if err != nil || !v.tree.MadeUp(parent) {
		return a, err
	}
	reached, err := v.reaches(ctx, a.Node, 0)
	if err != nil {
		return fs.Attr{}, err
	}
	if !reached {
		return fs.Attr{}, fmt.Errorf("look up %q: %w", name, fault.NotExist)
	}
	return a, nil
}

// reaches says whether the user could go to a node in its point, and do what he
// wants with the folder that it is in.
func (v *View) reaches(ctx context.Context, n fs.Node, w want) (bool, error) {
	if v.user.Admin {
		return true, nil
	}
	way, p, err := v.tree.Way(ctx, n)
	if err != nil || p == nil {
		return err == nil, err
	}
	u := v.userAt(p)
	if u == nil {
		return false, nil
	}
	for i, e := range way {
		if !u.may(e, enter) || i == len(way)-1 && !u.may(e, w) {
			return false, nil
		}
	}
	return true, nil
}

// ReadDir lists a folder that the user may list and enter. The kernel gives
// bare names of one that can be listed and not entered; nobody is helped by
// them here.
func (v *View) ReadDir(ctx context.Context, n fs.Node, from uint64) iter.Seq2[*fs.DirEntry, error] {
	for _, w := range []want{list, enter} {
		if err := v.check(ctx, n, w); err != nil {
			return func(yield func(*fs.DirEntry, error) bool) { yield(nil, err) }
		}
	}
	if v.user.Admin || !v.tree.MadeUp(n) {
		return v.tree.ReadDir(ctx, n, from)
	}
	return func(yield func(*fs.DirEntry, error) bool) {
		for d, err := range v.tree.ReadDir(ctx, n, from) {
			reached := true
			if err == nil && string(d.Name) != "." && string(d.Name) != ".." {
				reached, err = v.reaches(ctx, d.Attr.Node, list)
			}
			if (reached || err != nil) && !yield(d, err) {
				return
			}
		}
	}
}

// Readlink returns a link's target, which everybody may read who gets there.
func (v *View) Readlink(ctx context.Context, n fs.Node) (string, error) {
	return v.tree.Readlink(ctx, n)
}

// Read reads a file's content.
func (v *View) Read(ctx context.Context, n fs.Node, offset uint64, dst []byte) (int, error) {
	if err := v.check(ctx, n, read); err != nil {
		return 0, err
	}
	return v.tree.Read(ctx, n, offset, dst)
}

// ContentID names a file's content, which only those learn who may read it: it
// tells that two files are equal.
func (v *View) ContentID(ctx context.Context, n fs.Node) (fs.ContentID, error) {
	if err := v.check(ctx, n, read); err != nil {
		return fs.ContentID{}, err
	}
	return v.tree.ContentID(ctx, n)
}

// Stat tells how much there is: to administrators, as it is everybody's data.
func (v *View) Stat(ctx context.Context) (fs.Stats, error) {
	if !v.user.Admin {
		return fs.Stats{}, nil
	}
	return v.tree.Stat(ctx)
}

// Xattr returns an extended attribute. The rules are those of xattr(7).
func (v *View) Xattr(ctx context.Context, n fs.Node, name string) ([]byte, error) {
	if err := v.attribute(ctx, n, name); err != nil {
		return nil, err
	}
	return v.tree.Xattr(ctx, n, name)
}

// Xattrs lists the attributes that the user may read, as fs.Tree does.
func (v *View) Xattrs(ctx context.Context, n fs.Node) ([]byte, error) {
	all, err := v.tree.Xattrs(ctx, n)
	if err != nil || v.user.Admin {
		return all, err
	}
	var out []byte
	for name := range strings.SplitSeq(strings.TrimSuffix(string(all), "\x00"), "\x00") {
		if name != "" && v.attribute(ctx, n, name) == nil {
			out = append(append(out, name...), 0)
		}
	}
	return out, nil
}

func (v *View) attribute(ctx context.Context, n fs.Node, name string) error {
	switch {
	case strings.HasPrefix(name, "trusted.") && !v.user.Admin:
		return fmt.Errorf("attribute %s: %w", name, fault.Denied)
	case strings.HasPrefix(name, "user."):
		return v.check(ctx, n, read)
	}
	return nil
}
