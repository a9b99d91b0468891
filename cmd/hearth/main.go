// Command hearth is a Matrix homeserver.
//
// main.go is the tree of commands, serve.go starts the server, app.go runs it,
// wire.go puts the components together.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// program is what a command may use of the process it runs in.
type program struct {
	name           string // as the user called it
	stdin          *os.File
	stdout, stderr io.Writer
	environ        []string
}

// command is one line of the table of commands.
type command struct {
	words string // what the user types
	help  string
	run   func(ctx context.Context, p *program, args []string) error
}

func commands() []command {
	return append([]command{
		{"serve", "start the server", serve},
		{"user create", "make an account on the running server", userCreate},
		{"config example", "print the commented sample of the configuration", configExample},
		{"config check", "check a configuration", configCheck},
		{"backup verify", "check a backup", verifyBackup},
		{"backup", "copy all data while the server works", makeBackup},
		{"restore", "put a backup into an empty data directory", restore},
		{"restored", "say that the databases were put back from a backup", restored},
		{"version", "print the version", printVersion},
	}, adminCommands()...)
}

// usageError is a command line that cannot be understood.
type usageError struct{ text string }

func (e usageError) Error() string { return e.text }

func main() {
	// Nobody but the owner reads what Hearth writes, whatever the shell's umask says.
	syscall.Umask(0o077)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	p := &program{name: os.Args[0], stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, environ: os.Environ()}
	os.Exit(p.run(ctx, os.Args[1:]))
}

// run finds the command and runs it; the result is the exit code.
func (p *program) run(ctx context.Context, args []string) int {
	if len(args) == 0 || args[0] == "help" || args[0] == "-h" || args[0] == "--help" {
		p.help(p.stdout)
		return exitOK
	}
	for _, c := range commands() {
		words := strings.Fields(c.words)
		if len(args) < len(words) || strings.Join(args[:len(words)], " ") != c.words {
			continue
		}
		return p.exit(c, c.run(ctx, p, args[len(words):]))
	}
	fmt.Fprintf(p.stderr, "hearth: there is no command %q\n\n", strings.Join(args, " "))
	p.help(p.stderr)
	return exitUsage
}

func (p *program) exit(c command, err error) int {
	var usage usageError
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return exitOK
	case errors.As(err, &usage):
		fmt.Fprintf(p.stderr, "hearth %s: %v\n", c.words, err)
		return exitUsage
	default:
		fmt.Fprintf(p.stderr, "hearth: %v\n", err)
		return exitFailed
	}
}

func (p *program) help(w io.Writer) {
	fmt.Fprintf(w, "Hearth is a Matrix homeserver.\n\nUsage: %s COMMAND [OPTIONS]\n\n", p.name)
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-18s %s\n", c.words, c.help)
	}
	fmt.Fprintf(w, "\n%s COMMAND --help tells the options of a command.\n", p.name)
}

// flags returns a set of flags that reports to the user.
func (p *program) flags(words, arguments, text string) *flag.FlagSet {
	fs := flag.NewFlagSet(words, flag.ContinueOnError)
	fs.SetOutput(io.Discard) // errors are printed once, by exit
	fs.Usage = func() {
		fs.SetOutput(p.stdout)
		fmt.Fprintf(p.stdout, "Usage: %s %s [OPTIONS] %s\n\n%s\n\n", p.name, words, arguments, text)
		fs.PrintDefaults()
		fs.SetOutput(io.Discard)
	}
	return fs
}

// parseFlags reads options and arguments in any order and checks their number.
func parseFlags(fs *flag.FlagSet, args []string, want int) ([]string, error) {
	var rest []string
	for {
		if err := fs.Parse(args); errors.Is(err, flag.ErrHelp) {
			return nil, err
		} else if err != nil {
			return nil, usageError{err.Error()}
		}
		if fs.NArg() == 0 {
			break
		}
		rest, args = append(rest, fs.Arg(0)), fs.Args()[1:]
	}
	if len(rest) != want {
		return nil, usageError{fmt.Sprintf("takes %d arguments, not %d; --help tells more", want, len(rest))}
	}
	return rest, nil
}
