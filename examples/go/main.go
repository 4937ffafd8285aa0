// Command push pushes files as one component of a channel of a Driftless server.
//
//	./generate && go run . --server https://127.0.0.1:7443 --ca ca.crt --token-file token \
//	    --channel prod --component shop shop.yaml
package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	v1 "driftless.dev/examples/push/driftlessv1"
)

const tries = 5

type arguments struct {
	server, ca, tokenFile, channel, component, message, key string
	files                                                   []string
}

func main() {
	given, err := parse()
	if err == nil {
		err = run(context.Background(), given)
	}
	if err != nil {
		// The server's own words say what to do; nothing of the request is in them.
		if refused, ok := status.FromError(err); ok {
			err = fmt.Errorf("%s: %s (%s)", given.server, refused.Message(), refused.Code())
		}
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func parse() (arguments, error) {
	var given arguments
	flag.StringVar(&given.server, "server", os.Getenv("DRIFTLESS_SERVER"), "https://host:port")
	flag.StringVar(&given.ca, "ca", os.Getenv("DRIFTLESS_CA"), "file with the CA of the server")
	flag.StringVar(&given.tokenFile, "token-file", os.Getenv("DRIFTLESS_TOKEN_FILE"), "file with the token")
	flag.StringVar(&given.channel, "channel", "", "the channel")
	flag.StringVar(&given.component, "component", "", "the component")
	flag.StringVar(&given.message, "message", "", "why")
	flag.StringVar(&given.key, "idempotency-key", "", "known to the server when it comes again; otherwise one is drawn")
	flag.Parse()
	given.files = flag.Args()
	for name, value := range map[string]string{
		"--server": given.server, "--token-file": given.tokenFile, "--channel": given.channel,
		"--component": given.component, "a file of manifests": strings.Join(given.files, ""),
	} {
		if value == "" {
			return given, fmt.Errorf("%s is missing; see --help", name)
		}
	}
	return given, nil
}

func run(ctx context.Context, given arguments) error {
	content, err := bundle(given.component, given.files)
	if err != nil {
		return err
	}
	hash := sha256.Sum256(content)
	fmt.Printf("%s: bundle %x\n", given.component, hash)
	connection, err := connect(given)
	if err != nil {
		return err
	}
	defer connection.Close()
	pushed, err := push(ctx, v1.NewPublishClient(connection), given, content)
	if err != nil {
		return err
	}
	word := "is now"
	if pushed.Unchanged {
		word = "stays"
	}
	fmt.Printf("%s %s at snapshot %x\n", given.channel, word, pushed.Snapshot)
	return nil
}

// push sets the component to a bundle. What the server has already is not sent; all of it is safe to repeat.
func push(
	ctx context.Context, client v1.PublishClient, given arguments, content []byte,
) (*v1.PublishResponse, error) {
	hash := sha256.Sum256(content)
	missing, err := repeat(ctx, 30*time.Second, func(ctx context.Context) (*v1.MissingObjectsResponse, error) {
		return client.MissingObjects(ctx, &v1.MissingObjectsRequest{Hashes: [][]byte{hash[:]}})
	})
	if err != nil {
		return nil, err
	}
	for _, wanted := range missing.Hashes {
		if !bytes.Equal(wanted, hash[:]) {
			continue
		}
		if err := upload(ctx, client, hash[:], content); err != nil {
			return nil, err
		}
	}
	request := &v1.PublishRequest{
		Channel:    given.channel,
		Components: []*v1.ComponentChange{{Component: given.component, Bundle: hash[:]}},
		Message:    given.message,
		// The same with every repetition: by it the server knows the push when an answer was lost.
		IdempotencyKey: cmp.Or(given.key, draw()),
	}
	return repeat(ctx, 30*time.Second, func(ctx context.Context) (*v1.PublishResponse, error) {
		return client.Publish(ctx, request)
	})
}

func upload(ctx context.Context, client v1.PublishClient, hash, content []byte) error {
	encoder, err := zstd.NewWriter(nil)
	if err != nil {
		return err
	}
	object := &v1.Object{Hash: hash, Zstd: encoder.EncodeAll(content, nil)}
	fmt.Fprintf(os.Stderr, "uploading %d bytes\n", len(object.Zstd))
	_, err = repeat(ctx, 5*time.Minute, func(ctx context.Context) (*v1.PutObjectsResponse, error) {
		stream, err := client.PutObjects(ctx)
		if err != nil {
			return nil, err
		}
		// What is wrong with a broken stream is told when it is closed.
		_ = stream.Send(object)
		return stream.CloseAndRecv()
	})
	return err
}

// repeat calls again while the server is away for a moment.
func repeat[T any](ctx context.Context, timeout time.Duration, call func(context.Context) (T, error)) (T, error) {
	pause := 100 * time.Millisecond
	for tried := 1; ; tried++ {
		limited, cancel := context.WithTimeout(ctx, timeout)
		answer, err := call(limited)
		cancel()
		if status.Code(err) != codes.Unavailable || tried == tries {
			return answer, err
		}
		time.Sleep(pause)
		pause *= 2
	}
}

// draw gives 128 random bits: no two pushes ever draw the same.
func draw() string {
	key := make([]byte, 16)
	// Never fails.
	_, _ = rand.Read(key)
	return hex.EncodeToString(key)
}

// bearer puts the token on every request, and on none that is not encrypted.
type bearer string

func (token bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(token)}, nil
}

func (bearer) RequireTransportSecurity() bool { return true }

func connect(given arguments) (*grpc.ClientConn, error) {
	address, err := url.Parse(given.server)
	if err != nil || address.Scheme != "https" || address.Hostname() == "" || address.User != nil ||
		strings.Trim(address.Path, "/") != "" {
		return nil, errors.New("the server's address must be https://host:port")
	}
	var roots *x509.CertPool // nil: those that the operating system trusts
	if given.ca != "" {
		pem, err := os.ReadFile(given.ca)
		if err != nil {
			return nil, err
		}
		roots = x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return nil, errors.New(given.ca + " holds no certificate")
		}
	}
	content, err := os.ReadFile(given.tokenFile)
	if err != nil {
		return nil, err
	}
	token := strings.TrimSpace(string(content))
	if token == "" || strings.ContainsFunc(token, func(letter rune) bool { return letter <= ' ' || letter > '~' }) {
		return nil, errors.New(given.tokenFile + " holds no token: is it the right file?")
	}
	return grpc.NewClient(
		net.JoinHostPort(address.Hostname(), cmp.Or(address.Port(), "443")),
		grpc.WithTransportCredentials(credentials.NewClientTLSFromCert(roots, "")),
		grpc.WithPerRPCCredentials(bearer(token)),
	)
}
