//go:build linux

package nstest

import (
	"encoding/json"
	"testing"
)

// What iperf3 3.12 reports, shortened.
func TestIperfReply(t *testing.T) {
	for _, c := range []struct {
		name, reply string
		want        Transfer
	}{
		{"TCP", `{"end":{"streams":[{}],"sum_sent":{"bytes":1000,"seconds":2,"retransmits":3},"sum_received":{"bytes":900,"seconds":2.5}}}`,
			Transfer{Bytes: 900, Sent: 1000, Seconds: 2.5, Retrans: 3, Parallel: 1}},
		{"both ways", `{"end":{"streams":[{},{}],"sum_sent":{"bytes":1000,"seconds":2},"sum_received":{"bytes":900,"seconds":2},"sum_received_bidir_reverse":{"bytes":800,"seconds":2}}}`,
			Transfer{Bytes: 900, Back: 800, Sent: 1000, Seconds: 2, Parallel: 2}},
		{"UDP", `{"end":{"streams":[{}],"sum":{"bytes":12000,"seconds":1,"packets":10,"lost_packets":4}}}`,
			Transfer{Bytes: 7200, Sent: 12000, Seconds: 1, Packets: 10, Lost: 4, Parallel: 1}},
	} {
		var r iperfReply
		if err := json.Unmarshal([]byte(c.reply), &r); err != nil {
			t.Fatal(err)
		}
		if got := r.transfer(); got != c.want {
			t.Errorf("%s: %+v, not %+v", c.name, got, c.want)
		}
	}
	if p := (Transfer{Packets: 10, Lost: 4}).LossPercent(); p != 40 {
		t.Errorf("loss is %v %%", p)
	}
	if p := (Transfer{}).LossPercent(); p != 100 {
		t.Errorf("nothing sent: loss is %v %%", p)
	}
}
