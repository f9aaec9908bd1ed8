package notify

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"

	"belfry/internal/account"
	"belfry/internal/meeting"
	"belfry/internal/sigv4"
)

func env(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

func TestEndpoints(t *testing.T) {
	own, err := ParseOwn([]string{"arn:aws:sqs:*=http://all", "arn:aws:sqs:us-east-1:1:q=https://one/x?y=z", "arn:aws:sqs:us-east-1:1:qu*=http://some", "arn:aws:sqs:us-east-1:1:q*=http://q"})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		e       Endpoints
		address string
		want    string // "!" for an error
	}{
		"its own":             {Endpoints{Own: own, Getenv: env("AWS_ENDPOINT_URL_SQS", "http://env")}, "arn:aws:sqs:us-east-1:1:q", "https://one/x?y=z"},
		"its beginning":       {Endpoints{Own: own}, "arn:aws:sqs:us-east-1:1:x", "http://all"},
		"its longest":         {Endpoints{Own: own}, "arn:aws:sqs:us-east-1:1:queue", "http://some"},
		"the service's":       {Endpoints{Getenv: env("AWS_ENDPOINT_URL", "http://any", "AWS_ENDPOINT_URL_SQS", "http://sqs")}, "arn:a", "http://sqs"},
		"every service's":     {Endpoints{Getenv: env("AWS_ENDPOINT_URL", "http://any", "AWS_ENDPOINT_URL_SNS", "http://sns")}, "arn:a", "http://any"},
		"ignored":             {Endpoints{Getenv: env("AWS_ENDPOINT_URL", "http://any", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")}, "arn:a", "!"},
		"AWS, where allowed":  {Endpoints{AWS: true}, "arn:a", ""},
		"AWS, if not allowed": {Endpoints{}, "arn:a", "!"},
	} {
		got, err := c.e.of(meeting.TargetSQS, c.address, nil)
		if err != nil {
			got = "!"
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	for _, wrong := range []string{"", "arn:aws:sqs:x", "http://h", "arn:x=ftp://h", "arn:x=http://"} {
		if _, err := ParseOwn([]string{wrong}); err == nil {
			t.Errorf("%q is taken for an entry", wrong)
		}
	}
}

// bare leaves a test no AWS settings but these.
func bare(t *testing.T, pairs ...string) {
	t.Helper()
	for _, pair := range os.Environ() {
		if name, _, _ := strings.Cut(pair, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "")
			os.Unsetenv(name)
		}
	}
	t.Setenv("HOME", t.TempDir())
	for i := 0; i < len(pairs); i += 2 {
		t.Setenv(pairs[i], pairs[i+1])
	}
}

func write(t *testing.T, name, text string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCredentials(t *testing.T) {
	file := write(t, "credentials", "# mine\n[default]\naws_access_key_id = file\naws_secret_access_key=s=1\n\n"+
		"[other]\naws_access_key_id=other\naws_secret_access_key=s\naws_session_token=t\n")
	settings := write(t, "config", "[profile made]\ncredential_process = echo '{\"Version\":1,\"AccessKeyId\":\"made\",\"SecretAccessKey\":\"s\"}'\n")
	metadata := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/container":
			fmt.Fprintf(w, `{"AccessKeyId":"container","SecretAccessKey":"s","Token":%q,"Expiration":"2099-01-01T00:00:00Z"}`, r.Header.Get("Authorization"))
			return
		case r.URL.Path == "/sts/":
			body, _ := io.ReadAll(r.Body)
			q, _ := url.ParseQuery(string(body))
			fmt.Fprintf(w, `<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>web</AccessKeyId>`+
				`<SecretAccessKey>%s</SecretAccessKey><SessionToken>t</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>`+
				`</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`, q.Get("WebIdentityToken"))
			return
		}
		metadata++
		switch r.URL.Path {
		case "/latest/api/token":
			w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "100")
			io.WriteString(w, "token")
		case "/latest/meta-data/iam/security-credentials/":
			io.WriteString(w, "role")
		default:
			io.WriteString(w, `{"Code":"Success","AccessKeyId":"instance","SecretAccessKey":"s","Token":"t","Expiration":"2099-01-01T00:00:00Z"}`)
		}
	}))
	defer server.Close()
	for name, c := range map[string]struct {
		env  []string
		want string
	}{
		"environment":   {[]string{"AWS_ACCESS_KEY_ID", "env", "AWS_SECRET_ACCESS_KEY", "s", "AWS_SESSION_TOKEN", "t", "AWS_SHARED_CREDENTIALS_FILE", file}, "env s t"},
		"file":          {[]string{"AWS_SHARED_CREDENTIALS_FILE", file}, "file s=1 "},
		"profile":       {[]string{"AWS_SHARED_CREDENTIALS_FILE", file, "AWS_PROFILE", "other"}, "other s t"},
		"process":       {[]string{"AWS_CONFIG_FILE", settings, "AWS_PROFILE", "made"}, "made s "},
		"container":     {[]string{"AWS_CONTAINER_CREDENTIALS_FULL_URI", server.URL + "/container", "AWS_CONTAINER_AUTHORIZATION_TOKEN", "a"}, "container s a"},
		"web identity":  {[]string{"AWS_WEB_IDENTITY_TOKEN_FILE", write(t, "token", "jwt"), "AWS_ROLE_ARN", "arn:aws:iam::1:role/r", "AWS_REGION", "us-east-1", "AWS_ENDPOINT_URL_STS", server.URL + "/sts/"}, "web jwt t"},
		"instance":      {[]string{"AWS_EC2_METADATA_DISABLED", "false", "AWS_EC2_METADATA_SERVICE_ENDPOINT", server.URL}, "instance s t"},
		"none":          {[]string{"AWS_EC2_METADATA_SERVICE_ENDPOINT", server.URL}, "! the server has no AWS credentials"},
		"half a key":    {[]string{"AWS_ACCESS_KEY_ID", "env"}, "! "},
		"not a profile": {[]string{"AWS_SHARED_CREDENTIALS_FILE", file, "AWS_PROFILE", "nobody"}, "! read the AWS settings"},
	} {
		t.Run(name, func(t *testing.T) {
			bare(t, c.env...)
			before := metadata
			got, err := Credentials(os.Getenv).Retrieve(t.Context())
			text := fmt.Sprint(got.AccessKeyID, " ", got.SecretAccessKey, " ", got.SessionToken)
			if err != nil {
				text = "! " + err.Error()
			}
			if text != c.want && !(strings.HasPrefix(c.want, "!") && strings.HasPrefix(text, c.want)) {
				t.Errorf("%q, want %q", text, c.want)
			}
			if asked := metadata > before; asked != (name == "instance") {
				t.Errorf("the metadata service was asked: %t", asked)
			}
		})
	}
}

// The profile of the shared files says where services are, after the environment.
func TestEndpointsOfTheProfile(t *testing.T) {
	settings := write(t, "config", "[default]\nservices = here\nendpoint_url = http://all\n"+
		"[services here]\nsqs =\n  endpoint_url = http://queues\n[profile off]\nendpoint_url = http://all\nignore_configured_endpoint_urls = true\n")
	for name, c := range map[string]struct {
		env  []string
		kind meeting.TargetKind
		want string
	}{
		"of the service":      {nil, meeting.TargetSQS, "http://queues"},
		"of all":              {nil, meeting.TargetLambda, "http://all"},
		"the environment's":   {[]string{"AWS_ENDPOINT_URL", "http://env"}, meeting.TargetSQS, "http://env"},
		"ignored by profile":  {[]string{"AWS_PROFILE", "off"}, meeting.TargetSQS, ""},
		"ignored by variable": {[]string{"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true"}, meeting.TargetSQS, ""},
	} {
		t.Run(name, func(t *testing.T) {
			bare(t, append(c.env, "AWS_CONFIG_FILE", settings)...)
			a := AWS{Credentials: Credentials(os.Getenv), Endpoints: Endpoints{Getenv: os.Getenv, AWS: true}}
			got, err := a.endpointOf(t.Context(), c.kind, "arn:x")
			if err != nil || got != c.want {
				t.Errorf("%q (%v), want %q", got, err, c.want)
			}
		})
	}
}

// A target's own entry is where its requests go, whatever the environment and the
// profile say, which the SDK's clients read by themselves.
func TestOwnEndpointComesFirst(t *testing.T) {
	asked := map[string]bool{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		service := "lambda"
		switch {
		case r.Header.Get("X-Amz-Target") != "":
			service = "sqs"
			w.Header().Set("Content-Type", "application/x-amz-json-1.0")
			io.WriteString(w, `{"QueueUrl":"http://elsewhere.invalid/q"}`)
		case r.Header.Get("X-Amz-Invocation-Type") == "":
			service = "sns"
			io.WriteString(w, `<PublishResponse><PublishResult><MessageId>1</MessageId></PublishResult></PublishResponse>`)
		default:
			w.WriteHeader(http.StatusAccepted)
		}
		asked[service] = true
	}))
	defer server.Close()
	nobody := "http://127.0.0.1:1"
	settings := write(t, "config", "[default]\nservices = here\n[services here]\nsqs =\n  endpoint_url = "+nobody+"\n"+
		"sns =\n  endpoint_url = "+nobody+"\nlambda =\n  endpoint_url = "+nobody+"\n")
	keys := []string{"AWS_ACCESS_KEY_ID", "a", "AWS_SECRET_ACCESS_KEY", "s"}
	for name, around := range map[string][]string{
		"of the service": {"AWS_ENDPOINT_URL_SQS", nobody, "AWS_ENDPOINT_URL_SNS", nobody, "AWS_ENDPOINT_URL_LAMBDA", nobody},
		"of all":         {"AWS_ENDPOINT_URL", nobody},
		"of the profile": {"AWS_CONFIG_FILE", settings},
	} {
		t.Run(name, func(t *testing.T) {
			bare(t, append(around, keys...)...)
			clear(asked)
			a := AWS{Credentials: Credentials(os.Getenv), HTTP: server.Client(),
				Endpoints: Endpoints{Own: map[string]string{"arn:aws:*": server.URL}, Getenv: os.Getenv}}
			m := Message{Event: meeting.Event{ID: "i", MeetingID: "m", At: time.Now()}, Body: []byte(`{}`)}
			for service, target := range map[string]Sender{"sqs": Queues(a), "sns": Topics(a), "lambda": Functions(a)} {
				if err := target.Send(t.Context(), "arn:aws:"+service+":eu-west-3:123456789012:x", m); err != nil || !asked[service] {
					t.Errorf("%s: %v, its own endpoint was asked: %t", service, err, asked[service])
				}
			}
		})
	}
}

// What is sent is signed by the server's own key for the region of the ARN: the
// verifier that guards our API takes it.
func TestRequestsAreSigned(t *testing.T) {
	var seen []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		text := string(body)
		scope := r.Header.Get("Authorization")
		service := ""
		for _, name := range []string{"sqs", "sns", "lambda"} {
			if strings.Contains(scope, "/eu-west-3/"+name+"/aws4_request") {
				service = name
			}
		}
		v := sigv4.Verifier{Service: service, Regions: []string{"eu-west-3"}}
		if err := verify(v, r, body); err != nil {
			t.Errorf("the signature of %s: %v", r.Header.Get("X-Amz-Target"), err)
		}
		switch {
		case service == "lambda":
			seen = append(seen, "invoke "+r.Method+" "+r.RequestURI+" "+r.Header.Get("X-Amz-Invocation-Type")+" "+text)
			w.WriteHeader(http.StatusAccepted)
		case strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".GetQueueUrl"):
			seen = append(seen, "url "+text)
			w.Header().Set("Content-Type", "application/x-amz-json-1.0")
			io.WriteString(w, `{"QueueUrl":"http://elsewhere.invalid/q"}`)
		case strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".SendMessage"):
			seen = append(seen, "send "+text)
			w.Header().Set("Content-Type", "application/x-amz-json-1.0")
			io.WriteString(w, `{}`)
		case strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".SendMessageBatch"):
			seen = append(seen, "send "+text)
			w.Header().Set("Content-Type", "application/x-amz-json-1.0")
			if strings.Contains(text, "small") {
				w.WriteHeader(http.StatusBadRequest)
				io.WriteString(w, `{"__type":"UnknownOperationException"}`)
				break
			}
			io.WriteString(w, `{"Successful":[{"Id":"2"},{"Id":"7"}],"Failed":[{"Id":"0","Code":"Busy","SenderFault":false,"Message":"later"}]}`)
		case strings.HasPrefix(text, "Action=PublishBatch"):
			seen = append(seen, "publish "+text)
			io.WriteString(w, `<PublishBatchResponse><PublishBatchResult><Failed><member><Id>1</Id><Code>Busy</Code></member></Failed>`+
				`<Successful><member><Id>0</Id></member></Successful></PublishBatchResult></PublishBatchResponse>`)
		default:
			seen = append(seen, "publish "+text)
			io.WriteString(w, `<PublishResponse><PublishResult><MessageId>1</MessageId></PublishResult></PublishResponse>`)
		}
	}))
	defer server.Close()
	a := AWS{Credentials: credentials.NewStaticCredentialsProvider("key", "secret", ""),
		Endpoints: Endpoints{Getenv: env("AWS_ENDPOINT_URL", server.URL)}, HTTP: server.Client()}
	m := Message{Event: meeting.Event{ID: "i", MeetingID: "m", At: time.Now()}, Body: []byte(`{}`)}
	queue, topic, function := Queues(a), Topics(a), Functions(a)
	for range 2 {
		if err := queue.Send(t.Context(), "arn:aws:sqs:eu-west-3:123456789012:q", m); err != nil {
			t.Fatal(err)
		}
	}
	if err := topic.Send(t.Context(), "arn:aws:sns:eu-west-3:123456789012:t.fifo", m); err != nil {
		t.Fatal(err)
	}
	if err := function.Send(t.Context(), "arn:aws:lambda:eu-west-3:123456789012:function:f:live", m); err != nil {
		t.Fatal(err)
	}
	requests := seen
	seen = nil
	words := func(errs []error) (list []string) {
		for _, err := range errs {
			list = append(list, fmt.Sprint(err))
		}
		return list
	}
	three := []Message{m, {Event: meeting.Event{ID: "i2", MeetingID: "m2"}, Body: []byte(`2`)}, {Event: meeting.Event{ID: "i3", MeetingID: "m3"}, Body: []byte(`3`)}}
	same(t, "of the batch", words(queue.SendBatch(t.Context(), "arn:aws:sqs:eu-west-3:123456789012:q.fifo", three)),
		[]string{"one message of several was refused: Busy later", errUnanswered.Error(), "<nil>"})
	same(t, "of the topic's batch", words(topic.SendBatch(t.Context(), "arn:aws:sns:eu-west-3:123456789012:t", three[:2])),
		[]string{"<nil>", "one message of several was refused: Busy "})
	same(t, "batches", seen[1:], []string{
		`send {"Entries":[{"Id":"0","MessageBody":"{}","MessageDeduplicationId":"i","MessageGroupId":"m"},` +
			`{"Id":"1","MessageBody":"2","MessageDeduplicationId":"i2","MessageGroupId":"m2"},` +
			`{"Id":"2","MessageBody":"3","MessageDeduplicationId":"i3","MessageGroupId":"m3"}],"QueueUrl":"http://elsewhere.invalid/q"}`,
		"publish Action=PublishBatch&PublishBatchRequestEntries.member.1.Id=0&PublishBatchRequestEntries.member.1.Message=%7B%7D&" +
			"PublishBatchRequestEntries.member.2.Id=1&PublishBatchRequestEntries.member.2.Message=2&TopicArn=arn%3Aaws%3Asns%3Aeu-west-3%3A123456789012%3At&Version=2010-03-31",
	})
	// A server that knows no batches gets one by one, from then on at once.
	seen = nil
	for range 2 {
		small := []Message{{Event: m.Event, Body: []byte("small")}, three[1]}
		same(t, "without batches", words(queue.SendBatch(t.Context(), "arn:aws:sqs:eu-west-3:123456789012:q", small)), []string{"<nil>", "<nil>"})
	}
	same(t, "requests of a small server", len(seen), 5)

	same(t, "requests", requests, []string{
		`url {"QueueName":"q","QueueOwnerAWSAccountId":"123456789012"}`,
		`send {"MessageBody":"{}","QueueUrl":"http://elsewhere.invalid/q"}`,
		`send {"MessageBody":"{}","QueueUrl":"http://elsewhere.invalid/q"}`,
		"publish Action=Publish&Message=%7B%7D&MessageDeduplicationId=i&MessageGroupId=m&TopicArn=arn%3Aaws%3Asns%3Aeu-west-3%3A123456789012%3At.fifo&Version=2010-03-31",
		"invoke POST /2015-03-31/functions/arn%3Aaws%3Alambda%3Aeu-west-3%3A123456789012%3Afunction%3Af%3Alive/invocations Event {}",
	})
	for _, wrong := range []string{"", "arn", "arn:aws:sqs::1:q", "arn:aws:sqs:r:1:", "arn:aws:other:r:1:x", "arn:aws:sqs:evil.example/:1:q"} {
		if queue.Send(t.Context(), wrong, m) == nil || topic.Send(t.Context(), wrong, m) == nil || function.Send(t.Context(), wrong, m) == nil {
			t.Errorf("%q is taken for a queue, topic or function", wrong)
		}
	}
}

// A target whose answer does not end costs a failure and no memory.
func TestAnswersAreBounded(t *testing.T) {
	const whole, step = 64 << 20, 1 << 20
	for name, status := range map[string]int{"well": http.StatusOK, "an error": http.StatusBadRequest} {
		t.Run(name, func(t *testing.T) {
			read := make(chan int, 1)
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(status)
				begin := `{"QueueUrl":"`
				if r.Header.Get("X-Amz-Target") == "" {
					begin = "<PublishResponse><PublishResult><MessageId>"
				}
				io.WriteString(w, begin)
				n, more := 0, []byte(strings.Repeat("x", step))
				for err := error(nil); err == nil && n < whole; n += step {
					_, err = w.Write(more)
				}
				read <- n
			}))
			defer server.Close()
			a := AWS{Credentials: credentials.NewStaticCredentialsProvider("key", "secret", ""),
				Endpoints: Endpoints{Getenv: env("AWS_ENDPOINT_URL", server.URL)}, HTTP: server.Client()}
			m := Message{Event: meeting.Event{ID: "i", MeetingID: "m", At: time.Now()}, Body: []byte(`{}`)}
			for service, target := range map[string]Sender{"sqs": Queues(a), "sns": Topics(a)} {
				if err := target.Send(t.Context(), "arn:aws:"+service+":eu-west-3:123456789012:x", m); err == nil {
					t.Errorf("%s: it is taken for delivered", service)
				}
				if n := <-read; n >= whole {
					t.Errorf("%s: all %d bytes of an answer were read", service, n)
				}
			}
		})
	}
}

// A function that is not there or not ours to call says so, without the URL.
func TestFunctionRefuses(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Amzn-ErrorType", "ResourceNotFoundException")
		w.WriteHeader(http.StatusNotFound)
		io.WriteString(w, `{"Message":"Function not found"}`)
	}))
	f := Functions(AWS{Credentials: credentials.NewStaticCredentialsProvider("key", "secret", ""),
		Endpoints: Endpoints{Getenv: env("AWS_ENDPOINT_URL_LAMBDA", server.URL+"/")}, HTTP: server.Client()})
	err := f.Send(t.Context(), "arn:aws:lambda:eu-west-3:123456789012:function:f", Message{Body: []byte("{}")})
	if err == nil || !strings.Contains(err.Error(), "404 ResourceNotFoundException") {
		t.Errorf("a function that is not there: %v", err)
	}
	server.Close()
	err = f.Send(t.Context(), "arn:aws:lambda:eu-west-3:123456789012:function:f", Message{Body: []byte("{}")})
	if err == nil || strings.Contains(err.Error(), "functions/") {
		t.Errorf("a server that is away: %v", err)
	}
}

func TestWebhookRefusals(t *testing.T) {
	followed := false
	mux := http.NewServeMux()
	mux.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/ok", http.StatusTemporaryRedirect) })
	mux.HandleFunc("/ok", func(http.ResponseWriter, *http.Request) { followed = true })
	server := httptest.NewServer(mux)
	defer server.Close()
	gone := "http://user:password@127.0.0.1:1/secret"
	s := Webhooks{URLs: []string{server.URL + "/moved", gone}, Secret: "s", HTTP: server.Client()}.Sender()
	for address, want := range map[string]string{server.URL + "/moved": "307", gone: "refused", server.URL + "/ok": "settings"} {
		err := s.Send(context.Background(), address, Message{Body: []byte("{}")})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "password") {
			t.Errorf("%s: %v, want an error with %q", address, err, want)
		}
	}
	if followed {
		t.Error("a redirect was followed")
	}
}

func verify(v sigv4.Verifier, r *http.Request, body []byte) error {
	_, err := v.Verify(r, body, func(id string) (account.Key, error) {
		if id != "key" {
			return account.Key{}, account.ErrUnknownKey
		}
		return account.Key{ID: "key", Secret: "secret"}, nil
	}, time.Now())
	return err
}

// An ARN comes from whoever may create meetings: nothing in it leads to another
// host than its region's, or out of its place in the path.
func FuzzARN(f *testing.F) {
	for _, seed := range []string{"arn:aws:lambda:eu-west-3:123456789012:function:f:live", "arn:aws-cn:lambda:cn-north-1:1:f", "arn:aws:lambda:evil.example/:1:f",
		"arn:aws:lambda:r:1:../../x?y#z", "arn:aws:lambda:@h:1:f", "arn::lambda:r::%2e%2e"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, address string) {
		name, err := parseARN(meeting.TargetLambda, address)
		if err != nil {
			return
		}
		u, err := url.Parse(invokeURL("", name.region, address))
		if err != nil {
			t.Fatalf("%q: %v", address, err)
		}
		suffix := ".amazonaws.com"
		if strings.HasPrefix(address, "arn:aws-cn:") {
			suffix += ".cn"
		}
		parts := strings.Split(u.EscapedPath(), "/")
		if u.Host != "lambda."+name.region+suffix || strings.ContainsAny(name.region, "./@:") || u.User != nil || u.RawQuery != "" || u.Fragment != "" || len(parts) != 5 || parts[4] != "invocations" {
			t.Errorf("%q leads to %s", address, u)
		}
	})
}
