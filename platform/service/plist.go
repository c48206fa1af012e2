package service

import (
	"encoding/xml"
	"fmt"
	"strings"
)

// Plist returns the property list for launchd. It starts the program at boot (of
// a user's: at login), and again when it fails, lets others go before it, and
// gives it time to end a job.
func (s *Service) Plist() string {
	var b strings.Builder
	b.WriteString(`<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
`)
	fmt.Fprintf(&b, "\t<key>Label</key>\n\t<string>%s</string>\n\t<key>ProgramArguments</key>\n\t<array>\n", text(s.Name))
	for _, w := range append([]string{s.Program}, s.Args...) {
		fmt.Fprintf(&b, "\t\t<string>%s</string>\n", text(w))
	}
	b.WriteString(`	</array>
	<key>RunAtLoad</key>
	<true/>
	<key>KeepAlive</key>
	<dict>
		<key>SuccessfulExit</key>
		<false/>
	</dict>
	<key>ThrottleInterval</key>
	<integer>30</integer>
	<key>ExitTimeOut</key>
	<integer>300</integer>
	<key>ProcessType</key>
	<string>Background</string>
	<key>LowPriorityIO</key>
	<true/>
	<key>Nice</key>
	<integer>10</integer>
	<key>Umask</key>
	<integer>63</integer>
`) // 63 is 077: the format has no octal numbers
	if !s.User {
		fmt.Fprintf(&b, "\t<key>StandardErrorPath</key>\n\t<string>/var/log/%s.log</string>\n", text(s.Name))
	}
	b.WriteString("</dict>\n</plist>\n")
	return b.String()
}

// text writes a word as XML has it, and so that nobody takes {{ for a template.
func text(word string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(word)) // a Builder takes everything
	return strings.ReplaceAll(b.String(), "{", "&#123;")
}
