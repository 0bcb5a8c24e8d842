//! Cron lines: five fields, or six with the seconds first.
//!
//! The rules are Vixie's: if both the day of the month and the day of the week are restricted, either is enough; a field that begins with
//! `*` restricts nothing in that sense. From Quartz come the seconds, `?`, `L` and `FRI#3`.

use jiff::ToSpan;
use jiff::civil::{Date, DateTime, Time};

use super::error::WhenError;
use super::fields::{self, DAY, Field, HOUR, MINUTE, MONTH, SECOND, WEEKDAY, Word};

/// A cron line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    seconds: u64,
    minutes: u64,
    hours: u64,
    days: u64,
    last_day: bool,
    months: u64,
    /// Sunday is 0.
    weekdays: u64,
    /// `FRI#3` and `FRIL`: a weekday and which of the month; 0 is the last.
    counted: Vec<(u8, u8)>,
    any_day: bool,
    any_weekday: bool,
    any_hour: bool,
}

/// The lines behind the usual names.
const NICKNAMES: &[(&str, &str)] = &[
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

impl Cron {
    /// Reads a line. One that can never fire is refused.
    pub fn parse(line: &str) -> Result<Self, WhenError> {
        if line.trim_start().starts_with('@') {
            return nickname(line);
        }
        let words = words(line);
        let second = Word { text: "0", at: 0 };
        let [second, minute, hour, day, month, weekday] = match words[..] {
            [minute, hour, day, month, weekday] => [second, minute, hour, day, month, weekday],
            [second, minute, hour, day, month, weekday] => [second, minute, hour, day, month, weekday],
            _ => return Err(count(line, &words)),
        };
        let mut cron = Cron {
            seconds: plain(line, &SECOND, second)?,
            minutes: plain(line, &MINUTE, minute)?,
            hours: plain(line, &HOUR, hour)?,
            months: plain(line, &MONTH, month)?,
            days: 0,
            last_day: false,
            weekdays: 0,
            counted: Vec::new(),
            any_day: begins_open(day),
            any_weekday: begins_open(weekday),
            any_hour: begins_open(hour),
        };
        cron.read_days(line, day)?;
        cron.read_weekdays(line, weekday)?;
        if cron.first_day_from(Date::constant(2000, 1, 1)).is_none() {
            let span = day.at..month.at + month.text.chars().count();
            let problem = "no year has such a day, so it would never fire".to_owned();
            return Err(WhenError::new(line, span, problem, "for the last day of a month write `L`"));
        }
        Ok(cron)
    }

    /// Whether it means an interval and not times of a day: its hours begin with `*`.
    pub fn is_interval(&self) -> bool {
        self.any_hour
    }

    fn read_days(&mut self, line: &str, word: Word<'_>) -> Result<(), WhenError> {
        for item in word.items() {
            if item.text.eq_ignore_ascii_case("L") {
                self.last_day = true;
            } else if item.text.contains(['W', 'w']) {
                let problem = "the nearest working day (`W`) is not supported".to_owned();
                return Err(item.wrong(line, problem, "name the day, or a weekday such as `MON#1`"));
            } else {
                self.days |= fields::one(line, &DAY, item)?;
            }
        }
        Ok(())
    }

    fn read_weekdays(&mut self, line: &str, word: Word<'_>) -> Result<(), WhenError> {
        for item in word.items() {
            let (day, which) = match item.text.split_once('#') {
                Some((day, which)) => (day, which.parse::<u8>().ok()),
                None => match item.text.strip_suffix(['L', 'l']) {
                    Some(day) => (day, Some(0)),
                    None => (item.text, None),
                },
            };
            if day == item.text {
                self.weekdays |= fields::one(line, &WEEKDAY, item)?;
                continue;
            }
            let which = which.filter(|which| (1..=5).contains(which) || !item.text.contains('#'));
            let set = fields::one(line, &WEEKDAY, Word { text: day, at: item.at })?;
            let (Some(which), 1) = (which, set.count_ones()) else {
                let problem = format!("`{}` counts no weekday", item.text);
                return Err(item.wrong(line, problem, "write `FRI#1` to `FRI#5`, or `FRIL` for the last"));
            };
            self.counted.push((set.trailing_zeros() as u8 % 7, which));
        }
        // 7 is another name of Sunday.
        self.weekdays = (self.weekdays | self.weekdays >> 7) & 0x7f;
        Ok(())
    }

    /// The first moment that matches, after `from`, or at it if `inclusive`. In no zone: a calendar without gaps.
    pub(super) fn next(&self, from: DateTime, inclusive: bool) -> Option<DateTime> {
        // Whole seconds: a part of one has been passed.
        let start = if inclusive && from.subsec_nanosecond() == 0 {
            from
        } else {
            from.with().subsec_nanosecond(0).build().ok()?.checked_add(1.second()).ok()?
        };
        if self.matches_day(start.date())
            && let Some(time) = self.next_time(start.time())
        {
            return Some(start.date().to_datetime(time));
        }
        let day = self.first_day_from(start.date().tomorrow().ok()?)?;
        Some(day.to_datetime(self.next_time(Time::midnight())?))
    }

    fn next_time(&self, from: Time) -> Option<Time> {
        let [hour, minute, second] = [from.hour(), from.minute(), from.second()].map(|part| part as u8);
        let time =
            |hour: u8, minute: u8, second: u8| Time::new(hour as i8, minute as i8, second as i8, 0).ok();
        let (first_minute, first_second) = (first(self.minutes, 0)?, first(self.seconds, 0)?);
        if self.hours >> hour & 1 == 1 {
            if self.minutes >> minute & 1 == 1
                && let Some(second) = first(self.seconds, second)
            {
                return time(hour, minute, second);
            }
            if let Some(minute) = first(self.minutes, minute + 1) {
                return time(hour, minute, first_second);
            }
        }
        time(first(self.hours, hour + 1)?, first_minute, first_second)
    }

    /// The first day that matches, from `day` on. The calendar repeats after 400 years; what is rarer than once in a century is no schedule.
    fn first_day_from(&self, mut day: Date) -> Option<Date> {
        let last = day.year().saturating_add(100);
        while day.year() <= last {
            if self.months >> day.month() & 1 == 0 {
                day = day.last_of_month().tomorrow().ok()?;
            } else if self.matches_day(day) {
                return Some(day);
            } else {
                day = day.tomorrow().ok()?;
            }
        }
        None
    }

    fn matches_day(&self, day: Date) -> bool {
        if self.months >> day.month() & 1 == 0 {
            return false;
        }
        let of_month = self.days >> day.day() & 1 == 1 || self.last_day && day == day.last_of_month();
        let weekday = day.weekday().to_sunday_zero_offset() as u8;
        let counted = |&(wanted, which): &(u8, u8)| {
            let last = day.days_in_month() - day.day() < 7;
            wanted == weekday && if which == 0 { last } else { (day.day() - 1) / 7 + 1 == which as i8 }
        };
        let of_week = self.weekdays >> weekday & 1 == 1 || self.counted.iter().any(counted);
        if self.any_day || self.any_weekday { of_month && of_week } else { of_month || of_week }
    }
}

/// The smallest number of a set that is at least `from`.
fn first(set: u64, from: u8) -> Option<u8> {
    let rest = set.checked_shr(u32::from(from)).unwrap_or(0);
    (rest != 0).then(|| from + rest.trailing_zeros() as u8)
}

fn begins_open(word: Word<'_>) -> bool {
    word.text.starts_with(['*', '?'])
}

/// A field in which `?` has no place.
fn plain(line: &str, field: &Field, word: Word<'_>) -> Result<u64, WhenError> {
    if word.text.contains('?') {
        let problem = format!("`?` is no {}", field.name);
        return Err(word.wrong(
            line,
            problem,
            "it stands for the day of the month or of the week; write `*`",
        ));
    }
    fields::set(line, field, word)
}

fn words(line: &str) -> Vec<Word<'_>> {
    let mut words: Vec<Word<'_>> = Vec::new();
    let mut at = 0;
    for part in line.split(char::is_whitespace) {
        if !part.is_empty() {
            words.push(Word { text: part, at });
        }
        at += part.chars().count() + 1;
    }
    words
}

fn count(line: &str, words: &[Word<'_>]) -> WhenError {
    let problem = match words.len() {
        0 => "it is empty".to_owned(),
        1 => "it is no cron line, interval or date".to_owned(),
        number => format!("it has {number} fields"),
    };
    let advice = match words.len() {
        7 => "a cron line has no year here: leave it out and set `until`",
        _ => {
            "a cron line has five fields (minute, hour, day of the month, month, day of the week), or six with the second first; \
             an interval is `@every 90s`, a date `2027-03-01T08:00`"
        }
    };
    WhenError::whole(line, problem, advice)
}

fn nickname(line: &str) -> Result<Cron, WhenError> {
    let wanted = line.trim();
    if let Some((_, meaning)) = NICKNAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)) {
        return Cron::parse(meaning);
    }
    let names: Vec<&str> = NICKNAMES.iter().map(|(name, _)| *name).collect();
    let advice = format!("there are {} and @every with a duration, such as `@every 90s`", names.join(", "));
    Err(WhenError::whole(line, "there is no such name", advice))
}
