package cryptobench

import (
	"fmt"
	"io"
	"text/tabwriter"

	"culvert/internal/aead"
)

// Row is what was measured of a kernel in a step. The names of the JSON are promised
// by culvert(8).
type Row struct {
	Kernel      string  `json:"kernel"`
	Operation   string  `json:"operation"`
	Size        int     `json:"size_bytes"`
	Messages    int     `json:"messages_per_call"`
	NsPerPacket float64 `json:"ns_per_packet"`
	GBPerS      float64 `json:"gb_per_s"` // of plaintext; 10^9 bytes
	Ratio       float64 `json:"ratio"`    // how many times as fast as x/crypto
	Slices      int     `json:"slices"`   // that the figures are the median of
}

// Report is a run.
type Report struct {
	Version  string `json:"version"`
	CPU      string `json:"cpu"`
	GOARCH   string `json:"goarch"`
	Kernel   string `json:"kernel"` // that the daemon uses if not told otherwise
	Complete bool   `json:"complete"`
	Rows     []Row  `json:"rows"`
}

// newRows makes the rows of a step; x/crypto's figure is the last.
func newRows(s Step, names []string, all []figure) (rows []Row) {
	generic := all[len(all)-1].perPacket
	for i, f := range all {
		ns := max(f.perPacket, 1e-3) // so that a clock that stood still divides nothing by zero
		rows = append(rows, Row{
			Kernel: names[i], Operation: s.Operation, Size: s.Size, Messages: s.Messages,
			NsPerPacket: ns, GBPerS: float64(s.Size) / ns, Ratio: max(generic, 1e-3) / ns, Slices: f.slices,
		})
	}
	return rows
}

// Table writes it for people: a line a step, the kernels side by side.
func (r *Report) Table(w io.Writer) error {
	_, err := fmt.Fprintf(w, `culvert %s, %s, %s; the daemon uses %s here if not told otherwise
ns per packet, 10^9 bytes of plaintext per second, times as fast as generic (x/crypto)

`, r.Version, r.CPU, r.GOARCH, r.Kernel)
	if err != nil {
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	kernels := r.kernels()
	fmt.Fprint(t, "\t\t\t")
	for _, name := range kernels {
		if name != aead.Generic {
			fmt.Fprint(t, "\t")
		}
		fmt.Fprint(t, "\t", name, "\t") // above the last of its columns
	}
	fmt.Fprint(t, "\n\tbytes\tin a call\t")
	for _, name := range kernels {
		fmt.Fprint(t, "ns\tGB/s\t")
		if name != aead.Generic {
			fmt.Fprint(t, "ratio\t")
		}
	}
	for i, row := range r.Rows {
		if i%len(kernels) == 0 {
			fmt.Fprintf(t, "\n%s\t%d\t%d\t", row.Operation, row.Size, row.Messages)
		}
		fmt.Fprintf(t, "%.*f\t%.2f\t", digits(row.NsPerPacket), row.NsPerPacket, row.GBPerS)
		if row.Kernel != aead.Generic {
			fmt.Fprintf(t, "%.2f\t", row.Ratio)
		}
	}
	fmt.Fprintln(t)
	return t.Flush()
}

// kernels are those of the first step; every step has the same.
func (r *Report) kernels() (names []string) {
	for _, row := range r.Rows {
		names = append(names, row.Kernel)
		if row.Kernel == aead.Generic {
			break
		}
	}
	return names
}

// digits behind the point that make sense.
func digits(ns float64) int {
	if ns < 100 {
		return 1
	}
	return 0
}
