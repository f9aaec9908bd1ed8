package readme

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// On a system that is not Debian the scripts name the packages and go on.
func TestSetupElsewhereNamesThePackages(t *testing.T) {
	cmd := exec.Command("bash", "-c", `
		. scripts/setup.sh
		command() { [ "$2" != dpkg-query ] && builtin command "$@"; }
		need_packages build
		echo went on`)
	cmd.Dir = filepath.Join("..", "..")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v", err)
	}
	for _, want := range []string{"not Debian", "libopus-dev (", "went on"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("%q is missing in what it said: %s", want, out)
		}
	}
	if strings.Contains(string(out), "chromium") {
		t.Errorf("it named what only tests need: %s", out)
	}
}
