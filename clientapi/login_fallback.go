package clientapi

import (
	"net/http"
	"net/url"

	"hearth/internal/matrixhttp"
)

// loginFallbackPath is where clients find it that do not know the log-in flows ("Login
// Fallback").
const loginFallbackPath = "/_matrix/static/client/login/"

// loginPage logs in and hands the answer to the application that shows it. Who comes back
// from single sign-on must have gone there from this page, in this window: else a link
// could log somebody in as another.
const loginPage = `<noscript><p class="error">This page needs JavaScript.</p></noscript>
<form id="form"><p><label>User name <input id="user" autocomplete="username" required></label></p>
<p><label>Password <input id="password" type="password" autocomplete="current-password" required></label></p>
<p><button type="submit">Log in</button></p></form>
{{range .Data.Providers}}<p><button class="sso" data-to="{{.URL}}">Continue with {{.Name}}</button></p>{{end}}
<p id="state" role="status"></p>
<script nonce="{{.Nonce}}">
(function () {
    const query = new URLSearchParams(location.search), mark = "hearth.sso";
    const state = document.getElementById("state"), form = document.getElementById("form");
    async function login(body) {
        for (const key of ["device_id", "initial_device_display_name"]) {
            if (query.has(key)) body[key] = query.get(key);
        }
        if (query.get("refresh_token") === "true") body.refresh_token = true;
        state.textContent = "Logging in …";
        try {
            const response = await fetch("/_matrix/client/v3/login", {method: "POST", body: JSON.stringify(body)});
            const answer = await response.json();
            if (!response.ok) throw new Error(answer.error || "The log-in failed");
            form.hidden = true;
            state.textContent = "You are logged in. Go back to your application.";
            if (window.matrixLogin && window.matrixLogin.onLogin) window.matrixLogin.onLogin(answer);
        } catch (error) {
            state.textContent = error.message;
        }
    }
    form.addEventListener("submit", function (event) {
        event.preventDefault();
        login({
            type: "m.login.password", password: document.getElementById("password").value,
            identifier: {type: "m.id.user", user: document.getElementById("user").value},
        });
    });
    for (const button of document.getElementsByClassName("sso")) {
        button.addEventListener("click", function () {
            const back = new URL(location.href);
            back.searchParams.delete("loginToken");
            sessionStorage.setItem(mark, "1");
            location.href = button.dataset.to + "?redirectUrl=" + encodeURIComponent(back.href);
        });
    }
    const token = query.get("loginToken"), asked = sessionStorage.getItem(mark);
    sessionStorage.removeItem(mark);
    if (token) {
        query.delete("loginToken");
        history.replaceState(null, "", location.pathname + (query.size ? "?" + query : ""));
        if (asked) login({type: "m.login.token", token: token});
    }
})();
</script>`

// loginFallback is GET /_matrix/static/client/login/.
func (s *Server) loginFallback(*matrixhttp.Request) (any, error) {
	type provider struct{ Name, URL string }
	var providers []provider
	if s.sso != nil {
		for _, p := range s.sso.Providers() {
			providers = append(providers, provider{p.Name, "/_matrix/client/v3/login/sso/redirect/" + url.PathEscape(p.ID)})
		}
	}
	return s.pages.login.show(http.StatusOK, pageData{Title: "Log in to " + s.serverName, Data: map[string]any{"Providers": providers}}), nil
}
