package config

import (
	"strings"
	"testing"
)

const told = `repository = "/r"
[[policy]]
name = "a"
paths = ["/a"]
[notify]
host = "fileserver"
[[notify.mail]]
name = "admins"
server = "mail.example.com:587"
user = "ann"
password_file = "~/password"
from = "a@example.com"
to = ["b@example.com"]
policies = ["a"]
digest = "1h"
[[notify.webhook]]
name = "chat"
url = "https://chat.example.com/x"
[[notify.command]]
name = "pager"
command = ["/bin/true"]
[[notify.ping]]
name = "watch"
url = "https://hc-ping.com/x"
[report.prices]
instance = 10
[agent]
metrics = "127.0.0.1:9469"
`

func TestNotify(t *testing.T) {
	c, err := Parse([]byte(told), "c.toml", "/home/me")
	if err != nil {
		t.Fatal(err)
	}
	if list := c.Notify.Targets(); len(list) != 4 || list[0].Name != "admins" || list[3].Way != "ping" || c.Notify.Mails[0].PasswordFile != "/home/me/password" {
		t.Errorf("%+v", c.Notify)
	}
}

// TestNotifyIsStrict: each thing that is wrong is told with its line.
func TestNotifyIsStrict(t *testing.T) {
	for _, c := range []struct{ from, to, want string }{
		{`host = "fileserver"`, `host = "file server"`, `line 6: notify.host: "file server" is not a name of a machine`},
		{`name = "chat"`, `name = "admins"`, `line 17: notify.webhook 1, name: "admins" is the name of two who are told`},
		{`name = "chat"` + "\n", ``, `line 16: notify.webhook 1: it has no name`},
		{`server = "mail.example.com:587"`, `server = "mail.example.com"`, `line 9: notify.mail 1, server: "mail.example.com" is not like "mail.example.com:587"`},
		{`user = "ann"` + "\n", ``, `notify.mail 1, user: user and password_file belong together`},
		{`to = ["b@example.com"]`, `to = ["b"]`, `line 13: notify.mail 1, to: "b" is no address`},
		{`to = ["b@example.com"]`, `to = []`, `line 13: notify.mail 1, to: nobody gets the mail`},
		{`digest = "1h"`, `digest = "1s"`, `line 15: notify.mail 1, digest: 1s, but 1m to 7d are possible`},
		{`policies = ["a"]`, `policies = ["b"]`, `line 14: notify.mail 1, policies: there is no policy "b"`},
		{`digest = "1h"`, `tls = "none"`, `line 15: notify.mail 1, tls: without TLS mail goes to a server on this machine only`},
		{`digest = "1h"`, `events = ["all"]`, `line 15: notify.mail 1, events: "all" is none of critical, warning`},
		{`digest = "1h"`, `password = "x"`, `line 15: unknown key "notify.mail.password"; a configuration holds no secrets: use password_file`},
		{`digest = "1h"`, `digets = "1h"`, `line 15: unknown key "notify.mail.digets"; did you mean "notify.mail.digest"?`},
		{`url = "https://chat.example.com/x"`, `url = "http://chat.example.com/x"`, `line 18: notify.webhook 1, url: http:// is for this machine only`},
		{`url = "https://chat.example.com/x"`, `url_file = "x"`, `notify: "x" is not an absolute path`},
		{`command = ["/bin/true"]`, `command = ["true"]`, `line 21: notify.command 1, command: "true" is not an absolute path`},
		{`url = "https://hc-ping.com/x"`, ``, `line 22: notify.ping 1, url: give one of url and url_file`},
		{`instance = 10`, `instance = -1`, `line 26: report.prices.instance: -1 is no price`},
		{`metrics = "127.0.0.1:9469"`, `metrics = "0.0.0.0:9469"`, `line 28: agent.metrics: metrics "0.0.0.0:9469": others than this machine could reach it`},
		{`metrics = "127.0.0.1:9469"`, `certificates = ["x.pem"]`, `line 28: agent.certificates: "x.pem" is not an absolute path`},
	} {
		_, err := Parse([]byte(strings.Replace(told, c.from, c.to, 1)), "c.toml", "/home/me")
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.to, err, c.want)
		}
	}
}
