package media

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"hearth/clientapi/media/blob"
	"hearth/internal/matrixhttp"
	"hearth/internal/store/storetest"
)

const childVariable = "HEARTH_MEDIA_TEST_CHILD"

// TestMain serves as the child of the crash test if this process is one.
func TestMain(m *testing.M) {
	order := os.Getenv(childVariable)
	if order == "" {
		os.Exit(m.Run())
	}
	d := Deps{ServerName: "test", MaxUpload: 8 << 20}
	if err := json.Unmarshal([]byte(order), &d); err != nil {
		panic(err)
	}
	s, err := New(context.Background(), d)
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	mux, err := matrixhttp.New(matrixhttp.Options{Routes: s.Routes(byToken, byToken)})
	if err != nil {
		panic(err)
	}
	fmt.Println(httptest.NewServer(mux).URL)
	fmt.Println("end:", s.Run(context.Background()))
	os.Exit(1)
}

// child starts this test binary again and returns its URL.
func child(t *testing.T, d Deps) (*exec.Cmd, string) {
	t.Helper()
	order, err := json.Marshal(map[string]string{"DataDir": d.DataDir, "DatabaseURL": d.DatabaseURL})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+string(order))
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "http") {
		t.Fatalf("the child says %q, %v", line, err)
	}
	return cmd, strings.TrimSpace(line)
}

// upload returns the URI that was acknowledged, "" if none was.
func upload(client *http.Client, url, user string, content []byte) string {
	r, err := http.NewRequest("POST", url+uploadPath, bytes.NewReader(content))
	if err != nil {
		return ""
	}
	r.Header.Set("Authorization", "Bearer "+user)
	resp, err := client.Do(r)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	var a struct {
		URI string `json:"content_uri"`
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 || json.Unmarshal(body, &a) != nil {
		return ""
	}
	return strings.TrimPrefix(a.URI, "mxc://")
}

// load uploads until the server is gone: large files, small ones, the same ones again.
// Thumbnails are asked for meanwhile.
func load(url string, round int, acknowledged *sync.Map, picture []byte) {
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	var wg sync.WaitGroup
	for worker := range 6 {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(round), uint64(worker)))
			for i := 0; ; i++ {
				content := []byte(fmt.Sprintf("round %d, worker %d, file %d ", round, worker, i))
				switch random.IntN(4) {
				case 0:
					content = bytes.Repeat(content, 1+random.IntN(60_000))
				case 1:
					content = []byte(fmt.Sprintf("common %d", random.IntN(10)))
				case 2:
					content = append(bytes.Clone(picture), content...)
				}
				uri := upload(client, url, fmt.Sprintf("@u%d:test", worker), content)
				if uri == "" {
					return
				}
				acknowledged.Store(uri, sha256.Sum256(content))
				if r, err := http.NewRequest("GET", url+thumbPath+uri+"?width=32&height=32&method=crop", nil); err == nil {
					r.Header.Set("Authorization", "Bearer "+alice)
					if resp, err := client.Do(r); err == nil {
						resp.Body.Close()
					}
				}
			}
		})
	}
	wg.Wait()
}

// TestKilledProcess kills a server in the middle of uploads. Every upload that was
// acknowledged is whole afterwards, and nothing else is there.
func TestKilledProcess(t *testing.T) {
	storetest.EachEngine(t, func(t *testing.T, e storetest.Engine) {
		d := deps(t, e)
		d.MaxUpload = 8 << 20
		var acknowledged sync.Map
		picture := asPNG(t, 60, 40)
		for round := range 8 {
			cmd, url := child(t, d)
			time.AfterFunc(time.Duration(30+rand.IntN(300))*time.Millisecond, func() { cmd.Process.Kill() })
			load(url, round, &acknowledged, picture)
			cmd.Wait()
		}
		s := start(t, d)
		n := 0
		acknowledged.Range(func(uri, sum any) bool {
			n++
			a := s.get(downloadPath + uri.(string))
			if a.status != 200 || sha256.Sum256(a.body) != sum.([sha256.Size]byte) {
				t.Errorf("%s: status %d, %d bytes", uri, a.status, len(a.body))
			}
			return true
		})
		if n < 20 {
			t.Fatalf("only %d uploads were acknowledged", n)
		}
		s.end() // the sweep of the start is done or cut; do it again, whole
		s = start(t, d)
		if _, err := s.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		files, drafts := s.onDisk()
		want := s.needed()
		if files != len(want) || drafts != 0 {
			t.Errorf("%d files, %d drafts; the rows need %d files", files, drafts, len(want))
		}
		for hash := range want {
			f, err := s.files.Open(hash)
			if err != nil {
				t.Error(err)
				continue
			}
			sum := sha256.New()
			if _, err := io.Copy(sum, f); err != nil || !bytes.Equal(sum.Sum(nil), hash[:]) {
				t.Errorf("file %s is damaged: %v", hash, err)
			}
			f.Close()
		}
		t.Logf("%d acknowledged, %d files", n, files)
	})
}

// needed lists the files that rows name: of all users' uploads and of their thumbnails.
func (s *server) needed() map[blob.Hash]bool {
	s.t.Helper()
	out := map[blob.Hash]bool{}
	for worker := range 6 {
		items, err := s.ByUser(s.t.Context(), fmt.Sprintf("@u%d:test", worker), nil, 1_000_000)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, i := range items {
			out[blob.Hash(i.SHA256)] = true
			made, err := s.db.Thumbnail(s.t.Context(), i.SHA256, "32x32-crop")
			if err != nil {
				s.t.Fatal(err)
			}
			if made != nil {
				out[blob.Hash(made.SHA256)] = true
			}
		}
	}
	return out
}
