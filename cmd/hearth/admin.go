package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

const adminHelp = `Asks the running server, through its admin listener, with the access token of an
administrator: from the environment variable HEARTH_TOKEN or the file of --token-file.`

// adminCaller speaks to the admin API as an administrator.
type adminCaller struct {
	server, token string
	http          *http.Client
}

// adminFlags are the options of all commands that do so.
type adminFlags struct {
	set                       *flag.FlagSet
	config, server, tokenFile *string
	json                      *bool
}

func (p *program) adminFlags(words, arguments, text string) *adminFlags {
	fs := p.flags(words, arguments, text+"\n\n"+adminHelp)
	return &adminFlags{
		set: fs, config: fs.String("config", "", configHelp),
		server:    fs.String("server", "", "the address of the admin API, instead of the one in the configuration (http://127.0.0.1:8009)"),
		tokenFile: fs.String("token-file", "", "a file with the access token"),
		json:      fs.Bool("json", false, "print the answer of the server as JSON"),
	}
}

// caller finds the server and the token.
func (p *program) caller(f *adminFlags) (*adminCaller, error) {
	server := *f.server
	if server == "" {
		path := *f.config
		if path == "" {
			path = p.defaultConfig()
			if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
				return nil, fmt.Errorf("there is no configuration %s; name yours with --config, or the server with --server", path)
			}
		}
		c, err := p.load(path)
		if err != nil {
			return nil, err
		}
		if server, err = adminURL(c); err != nil {
			return nil, err
		}
	}
	token := p.env("HEARTH_TOKEN")
	if *f.tokenFile != "" {
		text, err := os.ReadFile(*f.tokenFile)
		if err != nil {
			return nil, err
		}
		token = strings.TrimSpace(string(text))
	}
	if token == "" {
		return nil, usageError{"needs the access token of an administrator: set HEARTH_TOKEN, or name a file with --token-file"}
	}
	return &adminCaller{
		server: strings.TrimRight(server, "/"), token: token,
		http: &http.Client{Timeout: 10 * time.Minute, Transport: &http.Transport{}}, // no proxy: the server is ours
	}, nil
}

// env reads an environment variable.
func (p *program) env(name string) string {
	for _, v := range p.environ {
		if value, ok := strings.CutPrefix(v, name+"="); ok {
			return value
		}
	}
	return ""
}

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 64 << 20

// do sends a request and reads the answer into out, which may be nil.
func (c *adminCaller) do(ctx context.Context, method, path string, body, out any) error {
	var send io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return err
		}
		send = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.server+path, send)
	if err != nil {
		return usageError{fmt.Sprintf("--server %s is no address such as http://127.0.0.1:8009", c.server)}
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("cannot reach the admin API: %w", err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("cannot read the answer of the admin API: %w", err)
	}
	if res.StatusCode >= 300 {
		a := &answer{}
		if json.Unmarshal(text, a) != nil || a.Error == "" {
			return fmt.Errorf("%s is no admin API of Hearth (it answers %d)", c.server, res.StatusCode)
		}
		return fmt.Errorf("the server refuses: %s (%s)", a.Error, a.Errcode)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("the answer of the server is no JSON: %w", err)
	}
	return nil
}

// segment writes a part of a path.
func segment(s string) string { return url.PathEscape(s) }
