// Command kstatus says of objects what Flux, Helm 4 and kpt make of them: it reads JSON objects, one per line, and
// prints status, a tab and message of each, by the library that these use.
package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var object unstructured.Unstructured
		if err := object.UnmarshalJSON(lines.Bytes()); err != nil {
			fail(err)
		}
		found, err := status.Compute(&object)
		if err != nil {
			fail(err)
		}
		fmt.Printf("%s\t%s\n", found.Status, strings.ReplaceAll(found.Message, "\n", " "))
	}
	if err := lines.Err(); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "kstatus:", err)
	os.Exit(1)
}
