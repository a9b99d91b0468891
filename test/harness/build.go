package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
)

// program is an executable that has no name any more: only this process holds it,
// so that nothing is left on disk however the process ends.
type program struct{ file *os.File }

// path is where a child of this process finds the program.
func (p *program) path() string { return fmt.Sprintf("/proc/self/fd/%d", p.file.Fd()) }

// programs are built once for a test binary.
var (
	hearthProgram = sync.OnceValues(func() (*program, error) { return build("hearth/cmd/hearth", raceEnabled, "") })
	natsProgram   = sync.OnceValues(func() (*program, error) { return build("hearth/internal/testkit/natsserver/cmd", false, "") })
	// taggedPrograms holds a func() (*program, error) for each list of build tags.
	taggedPrograms sync.Map
)

// hearthWith is hearthProgram with build tags, if there are any.
func hearthWith(tags string) (*program, error) {
	if tags == "" {
		return hearthProgram()
	}
	once, _ := taggedPrograms.LoadOrStore(tags, sync.OnceValues(func() (*program, error) {
		return build("hearth/cmd/hearth", raceEnabled, tags)
	}))
	return once.(func() (*program, error))()
}

// build compiles a command of this module.
func build(pkg string, race bool, tags string) (*program, error) {
	dir, err := os.MkdirTemp("", "hearth-build-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "program")
	args := []string{"build", "-o", path, "-tags", tags}
	if race {
		args = append(args, "-race")
	}
	if out, err := exec.Command("go", append(args, pkg)...).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build %s: %w\n%s", pkg, err, out)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return &program{file}, nil
}
