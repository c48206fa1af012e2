package process

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestNice makes a child nice, and asks the system about each of its threads.
func TestNice(t *testing.T) {
	if os.Getenv("NICE_CHILD") == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestNice$", "-test.v")
		cmd.Env = append(os.Environ(), "NICE_CHILD=1")
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "looked at all threads") {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	if err := Nice(12, true); err != nil {
		t.Fatal(err)
	}
	list, err := os.ReadDir("/proc/self/task")
	if err != nil || len(list) == 0 {
		t.Fatal(err)
	}
	for _, task := range list {
		b, err := os.ReadFile("/proc/self/task/" + task.Name() + "/stat")
		if err != nil {
			continue // it has ended
		}
		_, after, _ := strings.Cut(string(b), ") ")
		if fields := strings.Fields(after); fields[16] != "12" { // field 19 of proc(5)
			t.Errorf("thread %s has nice %s", task.Name(), fields[16])
		}
	}
	out, err := exec.Command("ionice", "-p", list[0].Name()).CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "idle" {
		t.Errorf("ionice says %q, %v", out, err)
	}
	t.Log("looked at all threads")
}
