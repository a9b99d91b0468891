package clientapi

// RegistrationOptions say what a registration asks for, whatever its mode.
type RegistrationOptions struct {
	// RequireEmail asks for a confirmed e-mail address. It needs mail.
	RequireEmail bool
	// Guests lets people in without an account.
	Guests bool
	// TermsURL and PrivacyURL, if not empty, are documents to agree to, in the version
	// TermsVersion.
	TermsURL, PrivacyURL, TermsVersion string
	// The captcha is on if there are keys. RecaptchaVerifyURL is where responses are
	// checked; empty: at Google.
	RecaptchaPublicKey, RecaptchaPrivateKey, RecaptchaVerifyURL string
}

// googleVerify is where reCAPTCHA checks responses.
const googleVerify = "https://www.google.com/recaptcha/api/siteverify"

// policies is the parameter of stage m.login.terms.
func (o RegistrationOptions) policies() map[string]any {
	policies := map[string]any{}
	add := func(id, name, url string) {
		if url != "" {
			policies[id] = map[string]any{"version": o.TermsVersion, "en": map[string]string{"name": name, "url": url}}
		}
	}
	add("terms_of_service", "Terms of Service", o.TermsURL)
	add("privacy_policy", "Privacy Policy", o.PrivacyURL)
	return policies
}
