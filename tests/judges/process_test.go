package judges

// Processes of the judges: each has its own log in target/logs/judges and its own process group, and ends with the tests.

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// repository is the root of the repository: `go test` runs a package's tests in the package's folder.
var repository = func() string {
	path, err := filepath.Abs("../..")
	if err != nil {
		panic(err)
	}
	return path
}()

// tool returns a program or file that judges.sh has put into .tools/judges.
func tool(name string) string { return filepath.Join(repository, ".tools/judges", name) }

// kubernetesTool returns kubectl or helm, which tools.sh has put into .tools/bin.
func kubernetesTool(name string) string { return filepath.Join(repository, ".tools/bin", name) }

// binary returns a program of the Rust workspace: in BERTH_BIN_DIR, otherwise in target/quick.
func binary(name string) string {
	if folder := os.Getenv("BERTH_BIN_DIR"); folder != "" {
		return filepath.Join(folder, name)
	}
	return filepath.Join(repository, "target/quick", name)
}

// filterModule returns the built filter: BERTH_WASM, otherwise target/wasm/berth_filter.wasm.
func filterModule() string {
	if path := os.Getenv("BERTH_WASM"); path != "" {
		return path
	}
	return filepath.Join(repository, "target/wasm/berth_filter.wasm")
}

// envoyBinary returns ENVOY_PATH, otherwise the Envoy that `make setup` installed.
func envoyBinary() string {
	if path := os.Getenv("ENVOY_PATH"); path != "" {
		return path
	}
	return filepath.Join(repository, ".tools/envoy")
}

type process struct {
	command *exec.Cmd
	log     string
	ended   chan struct{}
}

// start runs a program in a folder, with additional variables of the environment.
func start(t testing.TB, name, folder string, env []string, program string, args ...string) *process {
	t.Helper()
	logs := filepath.Join(repository, "target/logs/judges")
	if err := os.MkdirAll(logs, 0o755); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(logs, name+".log"))
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(program, args...)
	command.Dir = folder
	command.Env = append(os.Environ(), env...)
	command.Stdout, command.Stderr = log, log
	// The kernel ends the process with the tests, even if these are killed.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := command.Start(); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	started := &process{command: command, log: log.Name(), ended: make(chan struct{})}
	go func() {
		command.Wait()
		log.Close()
		close(started.ended)
	}()
	t.Cleanup(started.kill)
	return started
}

// kill ends the process and its children.
func (p *process) kill() {
	if p.hasEnded() {
		return
	}
	syscall.Kill(-p.command.Process.Pid, syscall.SIGKILL)
	<-p.ended
}

func (p *process) hasEnded() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// output returns what the process has written.
func (p *process) output() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// waitFor waits until the check succeeds, and fails the test when the process ends before or the time is over.
func (p *process) waitFor(t testing.TB, timeout time.Duration, check func() error) {
	t.Helper()
	eventually(t, timeout, func() error {
		if p.hasEnded() {
			t.Fatalf("it has ended; see %s\n%s", p.log, tail(p.output()))
		}
		return check()
	})
}

func (p *process) waitForLine(t testing.TB, timeout time.Duration, text string) string {
	t.Helper()
	var found string
	p.waitFor(t, timeout, func() error {
		for line := range strings.Lines(p.output()) {
			if strings.Contains(line, text) {
				found = strings.TrimSpace(line)
				return nil
			}
		}
		return fmt.Errorf("%s does not contain %q", p.log, text)
	})
	return found
}

// eventually repeats a check until it succeeds, and fails the test with the check's last error when the time is over.
func eventually(t testing.TB, timeout time.Duration, check func() error) {
	t.Helper()
	deadline := time.Now().Add(timeout)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v: %v", timeout, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func tail(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}

// freePorts returns different ports of the loopback interface on which nobody listens at the moment.
func freePorts(t testing.TB, count int) []int {
	t.Helper()
	var ports []int
	for range count {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		ports = append(ports, listener.Addr().(*net.TCPAddr).Port)
	}
	return ports
}

// listens reports whether somebody accepts connections on a port of the loopback interface.
func listens(port int) error {
	connection, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), time.Second)
	if err == nil {
		connection.Close()
	}
	return err
}

func write(t testing.TB, path, text string) {
	t.Helper()
	err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644))
	if err != nil {
		t.Fatal(err)
	}
}
