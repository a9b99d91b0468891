package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"

	"hearth/config"
)

const userCreateHelp = `Makes an account on the running server, through its admin listener and with
registration.shared_secret of its configuration. It asks for a password; without a
terminal and without --password-stdin it makes one and prints it.`

// maxPasswordLine bounds what is read as a password, in bytes.
const maxPasswordLine = 4096

func userCreate(ctx context.Context, p *program, args []string) error {
	flags := p.flags("user create", "NAME", userCreateHelp)
	admin := flags.Bool("admin", false, "make it an administrator")
	fromStdin := flags.Bool("password-stdin", false, "read the password from the first line of standard input")
	path := flags.String("config", "", configHelp)
	server := flags.String("server", "", "the address of the admin API, instead of the one in the configuration (http://127.0.0.1:8009)")
	rest, err := parseFlags(flags, args, 1)
	if err != nil {
		return err
	}
	if *path == "" {
		*path = p.defaultConfig()
		if _, err := os.Stat(*path); errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("there is no configuration %s; start Hearth first (%s serve), or name yours with --config", *path, p.name)
		}
	}
	c, err := p.load(*path)
	if err != nil {
		return err
	}
	if c.Registration.SharedSecret == "" {
		return fmt.Errorf("registration.shared_secret in %s is empty; set it to a long random text and restart Hearth", *path)
	}
	name, err := localpart(rest[0], c.ServerName)
	if err != nil {
		return err
	}
	if *server == "" {
		if *server, err = adminURL(c); err != nil {
			return err
		}
	}
	client := newAdminClient(*server, c.Registration.SharedSecret)
	nonce, err := client.nonce(ctx) // before the questions: is the server there?
	if err != nil {
		return err
	}
	password, made, err := p.password(*fromStdin)
	if err != nil {
		return err
	}
	if p.isTerminal() && !*fromStdin { // a person may have taken longer than the nonce lives
		if nonce, err = client.nonce(ctx); err != nil {
			return err
		}
	}
	userID, err := client.register(ctx, nonce, account{name: name, password: password, admin: *admin})
	if err != nil {
		return err
	}
	what := ""
	if *admin {
		what = ", an administrator"
	}
	fmt.Fprintf(p.stdout, "Made %s%s.\n", userID, what)
	if made {
		fmt.Fprintf(p.stdout, "Password: %s\n", password)
	}
	return nil
}

// localpart takes a name or a full user id of this server.
func localpart(name, serverName string) (string, error) {
	id, isID := strings.CutPrefix(name, "@")
	local, domain, hasDomain := strings.Cut(id, ":")
	switch {
	case !isID && !hasDomain && name != "":
		return name, nil
	case isID && hasDomain && domain == serverName && local != "":
		return local, nil
	default:
		return "", usageError{fmt.Sprintf("%q must be a name such as alice, or an id such as @alice:%s", name, serverName)}
	}
}

// adminURL finds the admin API of a configuration.
func adminURL(c *config.Config) (string, error) {
	address, scheme := c.Listeners.Admin.Address, "http"
	if address == "" && c.Listeners.Admin.AlsoOnClient {
		address = c.Listeners.Client.Address
		if c.Listeners.Client.TLSCert != "" {
			scheme = "https"
		}
	}
	if address == "" {
		return "", errors.New("listeners.admin.address is empty: the admin API is off; switch it on and restart Hearth")
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", fmt.Errorf("listeners.admin.address: %w", err)
	}
	if port == "0" {
		return "", errors.New("the port of the admin listener is chosen by the system; say where it is with --server")
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
		if ip != nil && ip.To4() == nil {
			host = "::1"
		}
	}
	return scheme + "://" + net.JoinHostPort(host, port), nil
}

// password asks for a password, reads it or makes one.
func (p *program) password(fromStdin bool) (password string, made bool, err error) {
	switch {
	case fromStdin:
		line, err := bufio.NewReader(io.LimitReader(p.stdin, maxPasswordLine)).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return "", false, fmt.Errorf("read the password: %w", err)
		}
		if password = strings.TrimRight(line, "\r\n"); password == "" {
			return "", false, errors.New("the first line of standard input holds no password")
		}
		return password, false, nil
	case !p.isTerminal():
		return rand.Text(), true, nil
	}
	for {
		first, err := p.ask("Password (it is not shown): ")
		if err != nil {
			return "", false, err
		}
		second, err := p.ask("The same again: ")
		if err != nil {
			return "", false, err
		}
		switch {
		case first == "":
			fmt.Fprintln(p.stderr, "It must not be empty.")
		case first != second:
			fmt.Fprintln(p.stderr, "They are not the same; try again.")
		default:
			return first, false, nil
		}
	}
}

func (p *program) isTerminal() bool { return isTerminal(int(p.stdin.Fd())) }

// ask reads a line without showing it.
func (p *program) ask(prompt string) (string, error) {
	fmt.Fprint(p.stderr, prompt)
	show, err := hideInput(int(p.stdin.Fd()))
	if err != nil {
		return "", fmt.Errorf("hide the password: %w", err)
	}
	line, err := readLine(p.stdin)
	show()
	fmt.Fprintln(p.stderr)
	return line, err
}

// readLine reads a line byte by byte, so that nothing of the next one is taken.
func readLine(r io.Reader) (string, error) {
	var line []byte
	var b [1]byte
	for len(line) < maxPasswordLine {
		n, err := r.Read(b[:])
		if n == 1 && b[0] == '\n' {
			break
		}
		if n == 1 {
			line = append(line, b[0])
		}
		if errors.Is(err, io.EOF) && len(line) > 0 {
			break
		}
		if err != nil {
			return "", fmt.Errorf("read the password: %w", err)
		}
	}
	return strings.TrimSuffix(string(line), "\r"), nil
}
