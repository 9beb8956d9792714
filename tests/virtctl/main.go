// Virtctl, as its own project builds it, for the end-to-end tests.
package main

import (
	"os"

	_ "k8s.io/client-go/plugin/pkg/client/auth"

	"kubevirt.io/kubevirt/pkg/virtctl"
)

func main() { os.Exit(virtctl.Execute()) }
