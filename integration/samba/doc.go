// Package samba shows recovery points to Windows as "Previous Versions": a real
// Samba with the section of the README over a real mount, looked at with
// smbclient.
package samba
