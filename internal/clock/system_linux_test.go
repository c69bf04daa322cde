package clock

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// Now is the boot-time clock, which runs through suspend: in a time namespace
// that claims to have slept for a day, as the monotonic clock has not.
func TestNowIsBootTime(t *testing.T) {
	const child, day = "CULVERT_CLOCK_CHILD", 24 * time.Hour
	if os.Getenv(child) != "" {
		fmt.Println("now", int64(System().Now()))
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("time namespaces need root")
	}
	cmd := exec.Command("unshare", "--time", "--boottime", fmt.Sprint(int(day.Seconds())), "--fork", os.Args[0], "-test.run=TestNowIsBootTime")
	cmd.Env = append(os.Environ(), child+"=1")
	before := System().Now()
	out, err := cmd.Output()
	if err != nil {
		t.Skip("no time namespace to be had:", err)
	}
	var now Time
	if _, err := fmt.Sscanf(strings.TrimSpace(string(out)), "now %d", &now); err != nil {
		t.Fatalf("%q: %v", out, err)
	}
	if slept := now.Sub(before); slept < day || slept > day+time.Hour {
		t.Errorf("%v were slept, not %v", slept, day)
	}
}
