//! Planned times: cron lines, intervals and dates, and what daylight saving does to them.

use riverrun_kernel::Wall;
use riverrun_kernel::schedule::When;

/// A moment, from RFC 3339.
fn at(text: &str) -> Wall {
    Wall(text.parse::<jiff::Timestamp>().expect("a date").as_millisecond())
}

fn when(text: &str, zone: &str) -> When {
    When::parse(text, zone, at("2026-01-01T00:00:00Z")).expect("a schedule")
}

/// The next `count` times, as the zone's clocks show them, without the year and the seconds.
fn shown(text: &str, zone: &str, after: &str, count: usize) -> String {
    let when = when(text, zone);
    let times = when.upcoming(at(after), count).into_iter();
    let shown = times.map(|time| {
        let local = when.local(time).expect("a time");
        format!("{}{}", &local[5..16], &local[19..])
    });
    shown.collect::<Vec<_>>().join(" ")
}

fn mistake(text: &str, zone: &str) -> String {
    When::parse(text, zone, Wall(0)).expect_err("a mistake").to_string()
}

const SPRING: &str = "2027-03-28T01:20:00+01:00";
const AUTUMN: &str = "2027-10-31T01:20:00+02:00";

#[test]
fn a_skipped_time_of_day_fires_once_right_after_the_gap() {
    let berlin = |line| shown(line, "Europe/Berlin", SPRING, 2);
    assert_eq!(berlin("30 2 * * *"), "03-28T03:00+02:00 03-29T02:30+02:00");
    // Several that are skipped are one.
    assert_eq!(berlin("*/15 2 * * *"), "03-28T03:00+02:00 03-29T02:00+02:00");
    assert_eq!(berlin("30 2,3 * * *"), "03-28T03:00+02:00 03-28T03:30+02:00");
    // One that falls on the end of the gap is one, too.
    assert_eq!(berlin("0 2,3 * * *"), "03-28T03:00+02:00 03-29T02:00+02:00");
    assert_eq!(berlin("0 3 * * *"), "03-28T03:00+02:00 03-29T03:00+02:00");
}

#[test]
fn a_repeated_time_of_day_fires_once_at_the_first() {
    let berlin = |line| shown(line, "Europe/Berlin", AUTUMN, 3);
    assert_eq!(berlin("30 2 * * *"), "10-31T02:30+02:00 11-01T02:30+01:00 11-02T02:30+01:00");
    assert_eq!(berlin("30 2,3 * * *"), "10-31T02:30+02:00 10-31T03:30+01:00 11-01T02:30+01:00");
    assert_eq!(berlin("*/30 2 * * *"), "10-31T02:00+02:00 10-31T02:30+02:00 11-01T02:00+01:00");
    // From within the second of the two hours on.
    let after = "2027-10-31T02:10:00+01:00";
    assert_eq!(shown("30 2 * * *", "Europe/Berlin", after, 1), "11-01T02:30+01:00");
}

#[test]
fn intervals_go_through_every_change_unharmed() {
    let spring = |line, count| shown(line, "Europe/Berlin", SPRING, count);
    assert_eq!(
        spring("*/15 * * * *", 4),
        "03-28T01:30+01:00 03-28T01:45+01:00 03-28T03:00+02:00 03-28T03:15+02:00"
    );
    assert_eq!(spring("0 * * * *", 3), "03-28T03:00+02:00 03-28T04:00+02:00 03-28T05:00+02:00");
    assert_eq!(spring("0 */2 * * *", 2), "03-28T04:00+02:00 03-28T06:00+02:00");
    let autumn = |line, count| shown(line, "Europe/Berlin", AUTUMN, count);
    assert_eq!(
        autumn("0 * * * *", 4),
        "10-31T02:00+02:00 10-31T02:00+01:00 10-31T03:00+01:00 10-31T04:00+01:00"
    );
    assert_eq!(
        autumn("*/30 * * * *", 6),
        "10-31T01:30+02:00 10-31T02:00+02:00 10-31T02:30+02:00 10-31T02:00+01:00 10-31T02:30+01:00 10-31T03:00+01:00"
    );
    for (zone, after) in
        [("Europe/Berlin", SPRING), ("Europe/Berlin", AUTUMN), ("Australia/Lord_Howe", AUTUMN)]
    {
        let times = when("*/15 * * * *", zone).upcoming(at(after), 20);
        assert!(times.windows(2).all(|pair| pair[1].0 - pair[0].0 == 15 * 60_000), "{zone}");
    }
}

#[test]
fn changes_of_half_an_hour_of_midnight_and_of_a_whole_day() {
    // Half an hour, both ways.
    let lord_howe = |line, after, count| shown(line, "Australia/Lord_Howe", after, count);
    assert_eq!(
        lord_howe("*/10 * * * *", "2027-04-04T01:40:00+11:00", 4),
        "04-04T01:50+11:00 04-04T01:30+10:30 04-04T01:40+10:30 04-04T01:50+10:30"
    );
    assert_eq!(
        lord_howe("15 2 * * *", "2027-10-03T01:40:00+10:30", 2),
        "10-03T02:30+11:00 10-04T02:15+11:00"
    );
    assert_eq!(
        lord_howe("45 1 * * *", "2027-04-03T23:00:00+11:00", 2),
        "04-04T01:45+11:00 04-05T01:45+10:30"
    );
    // A day that begins at one.
    let sao_paulo = shown("0 0 * * *", "America/Sao_Paulo", "2018-11-03T12:00:00-03:00", 2);
    assert_eq!(sao_paulo, "11-04T01:00-02:00 11-05T00:00-02:00");
    // A day that was left out: what was planned for it happens when the next begins.
    let apia = shown("0 12 * * *", "Pacific/Apia", "2011-12-29T11:00:00-10:00", 3);
    assert_eq!(apia, "12-29T12:00-10:00 12-31T00:00+14:00 12-31T12:00+14:00");
}

#[test]
fn planned_times_rise_and_are_the_same_from_wherever_one_looks() {
    let zones = [
        "UTC",
        "Europe/Berlin",
        "America/New_York",
        "Australia/Lord_Howe",
        "Asia/Kathmandu",
        "Africa/Casablanca",
    ];
    let lines = [
        "30 2 * * *",
        "*/20 * * * *",
        "0 */3 * * *",
        "15,45 1-3 * * *",
        "*/20 * 2 * * *",
        "0 0 L * *",
        "5 4 * * 0",
    ];
    for (zone, line) in zones.iter().flat_map(|zone| lines.iter().map(move |line| (zone, line))) {
        let when = when(line, zone);
        for start in
            ["2027-03-27T00:00:00Z", "2027-10-30T00:00:00Z", "2027-04-03T00:00:00Z", "2026-11-01T00:00:00Z"]
        {
            let times = when.upcoming(at(start), 60);
            for pair in times.windows(2) {
                assert!(pair[0] < pair[1], "{line} {zone}");
                let between = Wall(pair[0].0 + (pair[1].0 - pair[0].0) / 2);
                assert_eq!(when.next(between), Some(pair[1]), "{line} {zone} after {between:?}");
                assert_eq!(when.next(Wall(pair[1].0 - 1)), Some(pair[1]), "{line} {zone}");
            }
            let newest = when.newest(at(start), times[59], 7);
            assert_eq!(newest, times[53..], "{line} {zone}");
        }
    }
}

#[test]
fn fields_lists_ranges_steps_and_names() {
    let utc = |line, count| shown(line, "", "2027-01-01T00:00:00Z", count).replace("+00:00", "");
    assert_eq!(utc("0 9-17/4 * * MON-FRI", 4), "01-01T09:00 01-01T13:00 01-01T17:00 01-04T09:00");
    assert_eq!(utc("5/25 0 * * *", 3), "01-01T00:05 01-01T00:30 01-01T00:55");
    assert_eq!(utc("0 0 ? JAN,jul SUN", 2), "01-03T00:00 01-10T00:00");
    assert_eq!(utc("0 0 * * 7", 1), utc("0 0 * * 0", 1));
    assert_eq!(utc("0 0 * * FRI-SUN", 3), "01-02T00:00 01-03T00:00 01-08T00:00");
    assert_eq!(utc("0 0 L * *", 2), "01-31T00:00 02-28T00:00");
    assert_eq!(utc("0 0 * * FRIL", 2), "01-29T00:00 02-26T00:00");
    assert_eq!(utc("0 0 ? * MON#1", 2), "01-04T00:00 02-01T00:00");
    assert_eq!(utc("@daily", 1), "01-02T00:00");
    assert_eq!(utc("@Hourly", 2), "01-01T01:00 01-01T02:00");
    // Both days restricted: either is enough. One open: both must hold.
    assert_eq!(utc("0 0 13 * FRI", 4), "01-08T00:00 01-13T00:00 01-15T00:00 01-22T00:00");
    assert_eq!(utc("0 0 */2 * MON", 2), "01-11T00:00 01-25T00:00");
    // A leap day may be eight years away.
    assert_eq!(shown("0 0 29 2 *", "", "2096-03-01T00:00:00Z", 1), "02-29T00:00+00:00");
}

#[test]
fn six_fields_have_the_seconds_first() {
    let times = when("*/20 59 23 * * ?", "").upcoming(at("2027-01-01T23:59:10Z"), 3);
    assert_eq!(times, ["2027-01-01T23:59:20Z", "2027-01-01T23:59:40Z", "2027-01-02T23:59:00Z"].map(at));
}

#[test]
fn an_interval_is_counted_from_its_beginning() {
    let every =
        When::parse("@every 1m30s", "Europe/Berlin", at("2027-01-01T00:00:10Z")).expect("an interval");
    let times = every.upcoming(at("2027-01-01T00:00:10Z"), 2);
    assert_eq!(times, ["2027-01-01T00:01:40Z", "2027-01-01T00:03:10Z"].map(at));
    assert_eq!(every.next(at("2020-01-01T00:00:00Z")), Some(at("2027-01-01T00:01:40Z")));
    let year = every.newest(at("2027-01-01T00:00:10Z"), at("2037-01-01T00:00:00Z"), 2);
    assert_eq!(year.len(), 2);
    assert_eq!(year[1].0 - year[0].0, 90_000);
}

#[test]
fn a_date_is_in_its_zone_or_has_its_own_offset() {
    let next = |text, zone| when(text, zone).next(at("2027-01-01T00:00:00Z"));
    assert_eq!(next("2027-06-01T08:00", "Europe/Berlin"), Some(at("2027-06-01T06:00:00Z")));
    assert_eq!(next("2027-06-01 08:00:30", ""), Some(at("2027-06-01T08:00:30Z")));
    assert_eq!(next("2027-06-01T08:00:00-03:00", "Europe/Berlin"), Some(at("2027-06-01T11:00:00Z")));
    assert_eq!(next("2026-12-31T08:00:00Z", ""), None);
}

#[test]
fn a_date_that_clocks_skip_or_show_twice_is_refused_with_the_way_out() {
    let skipped = mistake("2027-03-28T02:30", "Europe/Berlin");
    assert!(skipped.contains("skip this time"), "{skipped}");
    assert!(skipped.contains("`2027-03-28T03:00:00+02:00`"), "{skipped}");
    let twice = mistake("2027-10-31T02:30", "Europe/Berlin");
    assert!(twice.contains("`2027-10-31T02:30:00+02:00` or `2027-10-31T02:30:00+01:00`"), "{twice}");
}

#[test]
fn mistakes_say_where_and_what_to_do() {
    let said: Vec<String> = [
        "61 * * * *",
        "0 25 * * *",
        "0 0 32 * *",
        "0 0 * JANUARY *",
        "0 0 * * FOO",
        "5-1 * * * *",
        "0 22-2 * * *",
        "*/0 * * * *",
        "1,,2 * * * *",
        "* * * *",
        "0 0 0 1 1 ? 2027",
        "? * * * *",
        "0 0 15W * *",
        "0 0 * * FRI#6",
        "0 0 30 2 *",
        "0 0 31 4,6 *",
        "@reboot",
        "@every",
        "@every 10",
        "@every 500ms",
        "@every 0s",
        "2027-13-01T00:00",
        "tomorrow",
        "",
    ]
    .iter()
    .map(|line| mistake(line, ""))
    .collect();
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn a_mistake_is_pointed_at() {
    let error = When::parse("0 0 * FOO *", "", Wall(0)).expect_err("a mistake");
    assert_eq!(error.pointed(), "0 0 * FOO *\n      ^^^");
}

#[test]
fn an_unknown_zone_names_the_nearest() {
    assert!(mistake("@daily", "Europe/Berln").contains("did you mean `Europe/Berlin`?"));
    assert!(mistake("@daily", "berlin").contains("did you mean `Europe/Berlin`?"));
    assert!(mistake("@daily", "New York").contains("did you mean `America/New_York`?"));
    assert!(mistake("@daily", "Middle-earth").contains("IANA names"));
    assert_eq!(when("@daily", "europe/berlin").zone_name(), "Europe/Berlin");
}
