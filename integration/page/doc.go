// Package page tests the agent's web page as a person uses it: in Chromium, on
// an agent that backs up.
package page
