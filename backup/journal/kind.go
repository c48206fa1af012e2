package journal

import (
	"maps"
	"slices"
)

// Kind is what an alert is about.
type Kind string

// The kinds of alerts.
const (
	BackupFailed   Kind = "backup_failed"
	BackupWarnings Kind = "backup_warnings"
	Silent         Kind = "silent" // no point for too long
	RestoreFailed  Kind = "restore_failed"
	Configuration  Kind = "configuration" // it cannot be read
	Unreachable    Kind = "unreachable"   // the repository cannot be looked at
	Damage         Kind = "damage"        // a chore found some
	Unscrubbed     Kind = "unscrubbed"    // nobody looks for damage
	SpaceLow       Kind = "space_low"
	Certificate    Kind = "certificate" // it runs out, or has
	ClockWrong     Kind = "clock_wrong"
	ShowDown       Kind = "show_down"  // a mount or a share stays down
	Ransomware     Kind = "ransomware" // files look as if somebody had encrypted them
	NotTold        Kind = "not_told"   // somebody cannot be notified

	MaintenanceFailed   Kind = "maintenance_failed"
	MaintenanceWarnings Kind = "maintenance_warnings"

	// Of somebody who works against the points, or had better know what he did.
	PointsDeleted      Kind = "points_deleted"      // before their time
	SoftDeleteReduced  Kind = "soft_delete_reduced" // deleted points can be had back for less long
	ImmutabilityOff    Kind = "immutability_off"
	RetentionShortened Kind = "retention_shortened"
	PurgeSoon          Kind = "purge_soon" // of points that were deleted before their time
	PointsPurged       Kind = "points_purged"
	VaultRolledBack    Kind = "vault_rolled_back"
)

// rule is what holds for all alerts of a kind.
type rule struct {
	severity Severity
	security bool
	text     string
	advice   string // what to do about it
}

var rules = map[Kind]rule{
	BackupFailed:        {SeverityCritical, false, "Backup failed", "`tidemark jobs` has the error, and `tidemark backup now POLICY` tries again"},
	BackupWarnings:      {SeverityWarning, false, "Backup with warnings", "`tidemark jobs show JOB` names each file, and why"},
	Silent:              {SeverityCritical, false, "No recovery point for too long", "see in `tidemark status` and `tidemark jobs` why no job ran or none succeeded"},
	RestoreFailed:       {SeverityCritical, false, "Restore failed", "see the error, mend its cause, and restore again"},
	Configuration:       {SeverityWarning, false, "The configuration cannot be read", "mend the line that it names; until then the configuration before holds"},
	Unreachable:         {SeverityWarning, false, "The repository cannot be looked at", "see whether it is mounted, and `tidemark doctor`"},
	Damage:              {SeverityCritical, false, "Damaged data", "`tidemark repair` heals what can be healed and names the files that cannot; keep the place as it is until then"},
	Unscrubbed:          {SeverityWarning, false, "Nobody looked for damage for too long", "write a [[maintenance]] with task = \"scrub\" and a schedule into the configuration"},
	SpaceLow:            {SeverityWarning, false, "The repository runs out of space", "make room, or keep points for less long: `tidemark policy preview`"},
	Certificate:         {SeverityWarning, false, "A certificate runs out", "renew it"},
	ClockWrong:          {SeverityWarning, false, "A clock is wrong", "set it right: until then no point expires"},
	MaintenanceFailed:   {SeverityWarning, false, "Maintenance failed", "`tidemark jobs` has the error, and `tidemark backup now NAME` tries again"},
	MaintenanceWarnings: {SeverityWarning, false, "Maintenance with warnings", "`tidemark jobs show JOB` names each"},
	ShowDown:            {SeverityWarning, false, "Points are not shown", "`tidemark status` says why; what is locked `tidemark agent unlock` opens"},
	Ransomware:          {SeverityCritical, true, "The files look as if somebody had encrypted them", "see `tidemark diff latest-clean latest`; if it is so, take the machine off the network and restore from latest-clean; if it is fine, close the alert: later points are not marked then, and `tidemark points release` lets those go that are held"},
	NotTold:             {SeverityWarning, false, "A notification cannot be delivered", "`tidemark agent notify test` says what goes wrong"},

	PointsDeleted:      {SeverityCritical, true, "Recovery points were deleted", "if nobody of yours did it: `tidemark points undelete` brings them back while their time of grace lasts"},
	SoftDeleteReduced:  {SeverityCritical, true, "Deleted points can be had back for less long", "if nobody of yours did it, find out who has this machine; `tidemark policy set` sets it right"},
	ImmutabilityOff:    {SeverityCritical, true, "Points are not immutable any more", "if nobody of yours did it, find out who has this machine; `tidemark vault immutable` sets it right"},
	RetentionShortened: {SeverityWarning, true, "Points are kept for less long", "if nobody of yours did it, `tidemark policy set` sets it right"},
	PurgeSoon:          {SeverityWarning, true, "Deleted points will soon be gone for good", "`tidemark points undelete` brings them back until then"},
	PointsPurged:       {SeverityWarning, true, "Deleted points are gone for good", "if nobody of yours did it, see what a replica has: `tidemark vault status`"},
	VaultRolledBack:    {SeverityCritical, true, "The vault went back in time", "somebody put an older state of it back; find out who, before anything else"},
}

// Kinds returns all kinds.
func Kinds() []Kind { return slices.Sorted(maps.Keys(rules)) }

// Severity returns how much alerts of the kind matter, as a rule.
func (k Kind) Severity() Severity { return rules[k].severity }

// Security says that the alert may be of somebody who works against the points:
// it is told to everybody at once, whatever they asked for.
func (k Kind) Security() bool { return rules[k].security }

// Text returns the kind in words.
func (k Kind) Text() string {
	if t := rules[k].text; t != "" {
		return t
	}
	return string(k) // of a later version
}

// Advice returns what to do about alerts of the kind, "" if that is not known.
func (k Kind) Advice() string { return rules[k].advice }
