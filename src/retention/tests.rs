//! Retention's verdicts over a realistic list, at the calendar's corners, and for whatever proptest finds.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::archive_name::NamePattern;

fn day(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

fn name(text: &str) -> ArchiveName {
    NamePattern::default().parse_name(&format!("{text}.tgz")).unwrap()
}

fn known(names: &[&str]) -> Vec<Known> {
    names.iter().map(|text| Known { name: name(text), size_bytes: 1000 }).collect()
}

fn on(today: &str) -> Situation {
    Situation { today: day(today), current: None, last_run: None, known_to_state: 0 }
}

/// One archive for each day from `first` to `last`.
fn nights(first: &str, last: &str) -> Vec<Known> {
    let last = day(last);
    let dates = day(first).iter_days().take_while(|date| *date <= last);
    dates.map(|date| Known { name: NamePattern::default().name(date, 1), size_bytes: 1000 }).collect()
}

fn only(change: impl FnOnce(&mut RetentionPolicy)) -> RetentionPolicy {
    let mut policy = RetentionPolicy { keep_last: 1, max_purge: u32::MAX, ..RetentionPolicy::default() };
    change(&mut policy);
    policy
}

fn show(verdicts: &[Verdict]) -> String {
    let mut out = String::new();
    for verdict in verdicts {
        let mark = if verdict.keep { "keep " } else { "purge" };
        writeln!(out, "{mark} {}: {}", verdict.archive, verdict.because()).unwrap();
    }
    out
}

fn kept(plan: &Plan) -> Vec<&str> {
    plan.kept().map(|verdict| verdict.archive.as_str().trim_end_matches(".tgz")).collect()
}

#[test]
fn three_years_of_nights_under_every_rule() {
    let archives = nights("2023-11-21", "2026-11-20");
    let policy = RetentionPolicy {
        keep_days: Some(7),
        keep_last: 3,
        keep_weekly: Some(4),
        keep_monthly: Some(6),
        keep_yearly: Some(5),
        max_purge: u32::MAX,
    };
    let situation = Situation { current: Some(name("20261120")), ..on("2026-11-20") };
    let plan = plan(&archives, &policy, &situation);
    assert_eq!(plan.verdicts.len(), archives.len());
    let kept: Vec<Verdict> = plan.kept().cloned().collect();
    insta::assert_snapshot!(show(&kept), @r"
    keep  20261120.tgz: holds the source's current content; within the last 7 days; among the newest 3; the newest of week 2026-W47; the newest of month 2026-11; the newest of year 2026
    keep  20261119.tgz: within the last 7 days; among the newest 3
    keep  20261118.tgz: within the last 7 days; among the newest 3
    keep  20261117.tgz: within the last 7 days
    keep  20261116.tgz: within the last 7 days
    keep  20261115.tgz: within the last 7 days; the newest of week 2026-W46
    keep  20261114.tgz: within the last 7 days
    keep  20261108.tgz: the newest of week 2026-W45
    keep  20261101.tgz: the newest of week 2026-W44
    keep  20261031.tgz: the newest of month 2026-10
    keep  20260930.tgz: the newest of month 2026-09
    keep  20260831.tgz: the newest of month 2026-08
    keep  20260731.tgz: the newest of month 2026-07
    keep  20260630.tgz: the newest of month 2026-06
    keep  20251231.tgz: the newest of year 2025
    keep  20241231.tgz: the newest of year 2024
    keep  20231231.tgz: the newest of year 2023
    ");
    insta::assert_snapshot!(show(&plan.verdicts[7..10]), @r"
    purge 20261113.tgz: older than 7 days and kept by no rule
    purge 20261112.tgz: older than 7 days and kept by no rule
    purge 20261111.tgz: older than 7 days and kept by no rule
    ");
    insta::assert_snapshot!(format!("{}\n{}", plan.summary().en, plan.summary().fr), @r"
    1079 of 1096 archives to purge
    archives à purger : 1079 sur 1096
    ");
}

#[test]
fn keep_days_counts_today_as_its_first_day() {
    let archives = nights("2026-10-01", "2026-11-20");
    let plan = plan(&archives, &only(|policy| policy.keep_days = Some(30)), &on("2026-11-20"));
    assert_eq!(kept(&plan).len(), 30);
    assert_eq!(kept(&plan).last(), Some(&"20261022"));
}

#[test]
fn keep_days_beyond_the_calendar_keeps_everything() {
    let archives = nights("1970-01-01", "1970-01-05");
    let plan = plan(&archives, &only(|policy| policy.keep_days = Some(u32::MAX)), &on("1970-01-05"));
    assert_eq!(plan.purge().count(), 0);
}

#[test]
fn keep_last_counts_archives_and_not_days_and_is_never_below_one() {
    let archives = known(&["20261101", "20261101-2", "20261101-3", "20261001"]);
    let two = plan(&archives, &only(|policy| policy.keep_last = 2), &on("2026-11-20"));
    assert_eq!(kept(&two), ["20261101-3", "20261101-2"]);
    let none = plan(&archives, &only(|policy| policy.keep_last = 0), &on("2026-11-20"));
    assert_eq!(kept(&none), ["20261101-3"]);
}

#[test]
fn iso_week_53_ends_in_january_and_belongs_to_the_old_year() {
    // 2020-12-28 to 2021-01-03 is 2020-W53; 2021-W01 begins on Monday, January 4th.
    let archives = nights("2020-12-18", "2021-01-11");
    let plan = plan(&archives, &only(|policy| policy.keep_weekly = Some(4)), &on("2021-01-11"));
    let kept: Vec<Verdict> = plan.kept().cloned().collect();
    insta::assert_snapshot!(show(&kept), @r"
    keep  20210111.tgz: made today; the newest; the newest of week 2021-W02
    keep  20210110.tgz: the newest of week 2021-W01
    keep  20210103.tgz: the newest of week 2020-W53
    keep  20201227.tgz: the newest of week 2020-W52
    ");
}

#[test]
fn a_months_newest_is_its_last_day_leap_days_included() {
    let archives = nights("2023-12-01", "2024-04-02");
    let plan = plan(&archives, &only(|policy| policy.keep_monthly = Some(12)), &on("2024-04-02"));
    assert_eq!(kept(&plan), ["20240402", "20240331", "20240229", "20240131", "20231231"]);
}

#[test]
fn the_same_month_or_week_of_another_year_is_another_one() {
    let archives = known(&["20261110", "20251110", "20241112"]);
    let months = plan(&archives, &only(|policy| policy.keep_monthly = Some(2)), &on("2026-11-20"));
    assert_eq!(kept(&months), ["20261110", "20251110"]);
    let weeks = plan(&archives, &only(|policy| policy.keep_weekly = Some(3)), &on("2026-11-20"));
    assert_eq!(kept(&weeks).len(), 3);
}

#[test]
fn periods_without_an_archive_are_not_counted() {
    let archives = known(&["20261120", "20260310", "20251224", "20190704", "20190703", "20181231"]);
    let months = plan(&archives, &only(|policy| policy.keep_monthly = Some(4)), &on("2026-11-20"));
    assert_eq!(kept(&months), ["20261120", "20260310", "20251224", "20190704"]);
    let years = plan(&archives, &only(|policy| policy.keep_yearly = Some(3)), &on("2026-11-20"));
    assert_eq!(kept(&years), ["20261120", "20251224", "20190704"]);
}

#[test]
fn a_count_of_zero_keeps_nothing_by_that_rule() {
    let archives = known(&["20261101", "20251101"]);
    let policy = only(|policy| {
        (policy.keep_days, policy.keep_weekly) = (Some(0), Some(0));
        (policy.keep_monthly, policy.keep_yearly) = (Some(0), Some(0));
    });
    insta::assert_snapshot!(show(&plan(&archives, &policy, &on("2026-11-20")).verdicts), @r"
    keep  20261101.tgz: the newest
    purge 20251101.tgz: kept by no rule
    ");
}

#[test]
fn of_several_archives_of_a_day_the_latest_counts_for_the_calendar_and_all_for_keep_days() {
    let archives =
        known(&["20261120", "20261120-2", "20261119", "20261119-2", "20261031", "20261031-2", "20261031-10"]);
    let policy = only(|policy| (policy.keep_days, policy.keep_monthly) = (Some(2), Some(2)));
    insta::assert_snapshot!(show(&plan(&archives, &policy, &on("2026-11-20")).verdicts), @r"
    keep  20261120-2.tgz: within the last 2 days; the newest; the newest of month 2026-11
    keep  20261120.tgz: within the last 2 days
    keep  20261119-2.tgz: within the last 2 days
    keep  20261119.tgz: within the last 2 days
    keep  20261031-10.tgz: the newest of month 2026-10
    purge 20261031-2.tgz: older than 2 days and kept by no rule; `20261031-10.tgz` is the latest of that day
    purge 20261031.tgz: older than 2 days and kept by no rule; `20261031-10.tgz` is the latest of that day
    ");
}

#[test]
fn the_archive_of_a_source_that_stands_still_survives_every_rule() {
    let archives = known(&["20261001", "20260901", "20250101"]);
    let situation = Situation { current: Some(name("20250101")), ..on("2026-11-20") };
    insta::assert_snapshot!(show(&plan(&archives, &only(|_| ()), &situation).verdicts), @r"
    keep  20261001.tgz: the newest
    purge 20260901.tgz: kept by no rule
    keep  20250101.tgz: holds the source's current content
    ");
}

#[test]
fn archives_of_the_future_stay_take_no_place_and_stop_the_purge() {
    let archives = known(&["20991231", "20261121", "20261119", "20261118", "20261117"]);
    let plan = plan(&archives, &only(|policy| policy.keep_last = 2), &on("2026-11-20"));
    insta::assert_snapshot!(show(&plan.verdicts), @r"
    keep  20991231.tgz: its date is after today, 2026-11-20
    keep  20261121.tgz: its date is after today, 2026-11-20
    keep  20261119.tgz: among the newest 2
    keep  20261118.tgz: among the newest 2
    purge 20261117.tgz: kept by no rule
    ");
    assert_eq!(plan.refusal, Some(Refusal::ClockBehind { today: day("2026-11-20"), newest: name("20991231") }));
    assert_eq!((plan.purge().count(), plan.purge_by_hand().count()), (0, 0));
}

#[test]
fn a_clock_that_jumped_further_than_the_retention_purges_nothing() {
    let archives = nights("2026-09-01", "2026-11-20");
    let jump = |last_run: &str, keep_days: Option<u32>| {
        let situation = Situation { last_run: Some(day(last_run)), ..on("2026-11-20") };
        plan(&archives, &only(|policy| policy.keep_days = keep_days), &situation)
    };
    // 31 days are fine whatever the policy, 32 are not.
    assert_eq!(jump("2026-10-20", None).refusal, None);
    assert_eq!(jump("2026-10-20", Some(7)).refusal, None);
    let refused = jump("2026-10-19", Some(7));
    assert!(matches!(refused.refusal, Some(Refusal::ClockJumped { limit_days: 31, .. })));
    assert_eq!(refused.purge().count(), 0);
    assert_eq!(refused.purge_by_hand().count(), 81 - 7);
    // A longer retention allows a longer absence.
    assert_eq!(jump("2026-09-21", Some(60)).refusal, None);
    assert!(matches!(jump("2026-09-20", Some(60)).refusal, Some(Refusal::ClockJumped { limit_days: 60, .. })));
    // A clock that went back a little is for the start of the run to judge.
    assert_eq!(jump("2026-11-21", None).refusal, None);
}

#[test]
fn a_listing_that_lost_every_archive_is_refused_and_an_empty_beginning_is_not() {
    let lost = plan(&[], &only(|_| ()), &Situation { known_to_state: 12, ..on("2026-11-20") });
    assert_eq!(lost.refusal, Some(Refusal::ListingEmpty { known: 12 }));
    let first = plan(&[], &only(|_| ()), &on("2026-11-20"));
    assert_eq!(first.refusal, None);
    assert_eq!(first.summary().en, "0 archives to purge, because there is none");
}

#[test]
fn more_than_max_purge_waits_for_a_person() {
    let archives = nights("2026-10-01", "2026-11-20");
    let refused = plan(&archives, &only(|policy| policy.max_purge = 49), &on("2026-11-20"));
    assert_eq!(refused.refusal, Some(Refusal::TooMany { going: 50, max_purge: 49 }));
    assert_eq!((refused.purge().count(), refused.purge_by_hand().count()), (0, 50));
    let allowed = plan(&archives, &only(|policy| policy.max_purge = 50), &on("2026-11-20"));
    assert_eq!((allowed.refusal.clone(), allowed.purge().count()), (None, 50));
}

#[test]
fn a_name_that_is_listed_twice_takes_one_place() {
    let archives = known(&["20261119", "20261119", "20261118"]);
    assert_eq!(
        kept(&plan(&archives, &only(|policy| policy.keep_last = 2), &on("2026-11-20"))),
        ["20261119", "20261118"]
    );
}

#[test]
fn ten_thousand_archives_are_judged_one_by_one() {
    let archives = nights("1999-07-06", "2026-11-20");
    assert_eq!(archives.len(), 10_000);
    let policy = only(|policy| policy.keep_yearly = Some(100));
    assert_eq!(plan(&archives, &policy, &on("2026-11-20")).kept().count(), 28);
}

#[test]
fn every_reason_and_refusal_speaks_both_languages() {
    let (today, last_run) = (day("2026-11-20"), day("2026-01-02"));
    let reasons = [
        Reason::Current,
        Reason::Future { today },
        Reason::Days { days: 1 },
        Reason::Days { days: 30 },
        Reason::Last { count: 1 },
        Reason::Last { count: 3 },
        Reason::Weekly { year: 2026, week: 7 },
        Reason::Monthly { year: 2026, month: 2 },
        Reason::Yearly { year: 2026 },
        Reason::Older { days: 1 },
        Reason::Older { days: 30 },
        Reason::NoRule,
        Reason::NotLatestOfDay { latest: name("20261120-2") },
    ];
    let refusals = [
        Refusal::ListingEmpty { known: 1 },
        Refusal::ListingEmpty { known: 2 },
        Refusal::ClockBehind { today, newest: name("20261121") },
        Refusal::ClockJumped { last_run, today, limit_days: 31 },
        Refusal::TooMany { going: 40, max_purge: 31 },
    ];
    let mut texts: Vec<Text> = reasons.iter().map(Reason::text).collect();
    texts.extend(refusals.iter().flat_map(|refusal| [refusal.text(), refusal.hint()]));
    let lines: Vec<String> = texts.iter().map(|text| format!("{}\n    {}", text.en, text.fr)).collect();
    insta::assert_snapshot!(lines.join("\n"), @r"
    holds the source's current content
        contient l'état actuel de la source
    its date is after today, 2026-11-20
        sa date est postérieure à aujourd'hui, 2026-11-20
    made today
        faite aujourd'hui
    within the last 30 days
        dans les 30 derniers jours
    the newest
        la plus récente
    among the newest 3
        parmi les 3 plus récentes
    the newest of week 2026-W07
        la plus récente de la semaine 2026-W07
    the newest of month 2026-02
        la plus récente du mois 2026-02
    the newest of year 2026
        la plus récente de l'année 2026
    made before today and kept by no rule
        faite avant aujourd'hui, aucune règle ne la garde
    older than 30 days and kept by no rule
        plus de 30 jours, aucune règle ne la garde
    kept by no rule
        aucune règle ne la garde
    `20261120-2.tgz` is the latest of that day
        `20261120-2.tgz` est la dernière de ce jour
    the destination shows no archive, though one was published there
        la destination ne montre aucune archive, alors qu'une y a été publiée
    look whether the destination's directory is the right one and is mounted, and where its archives have gone
        vérifiez que le dossier de la destination est le bon et qu'il est monté, et où sont passées ses archives
    the destination shows no archive, though 2 were published there
        la destination ne montre aucune archive, alors que 2 y ont été publiées
    look whether the destination's directory is the right one and is mounted, and where its archives have gone
        vérifiez que le dossier de la destination est le bon et qu'il est monté, et où sont passées ses archives
    today would be 2026-11-20, but `20261121.tgz` is of a later day
        nous serions le 2026-11-20, mais `20261121.tgz` porte une date postérieure
    set this machine's clock; if it is right, `20261121.tgz` has a wrong date: rename it or move it elsewhere
        réglez l'horloge de cette machine ; si elle est juste, `20261121.tgz` porte une date fausse : renommez-la ou déplacez-la
    the last run was on 2026-01-02 and today would be 2026-11-20, more than 31 days later
        la dernière exécution date du 2026-01-02 et nous serions le 2026-11-20, plus de 31 jours après
    look at this machine's clock; if it is right, confirm it by running `archive prune` once
        vérifiez l'horloge de cette machine ; si elle est juste, confirmez-le en lançant une fois `archive prune`
    40 would go, more than `max_purge = 31` allows in one night
        40 à purger, plus que `max_purge = 31` n'en permet en une nuit
    run `archive prune`, which shows what would go and asks; raise `max_purge` if this is usual
        lancez `archive prune`, qui montre ce qui partirait et demande confirmation ; augmentez `max_purge` si c'est habituel
    ");
}

#[test]
fn a_plan_travels_as_json() {
    let archives = known(&["20261120", "20261001"]);
    let policy = only(|policy| (policy.keep_days, policy.max_purge) = (Some(30), 0));
    let plan = plan(&archives, &policy, &on("2026-11-20"));
    insta::assert_snapshot!(serde_json::to_string_pretty(&plan).unwrap(), @r#"
    {
      "verdicts": [
        {
          "archive": "20261120.tgz",
          "size_bytes": 1000,
          "keep": true,
          "reasons": [
            {
              "rule": "days",
              "days": 30
            },
            {
              "rule": "last",
              "count": 1
            }
          ]
        },
        {
          "archive": "20261001.tgz",
          "size_bytes": 1000,
          "keep": false,
          "reasons": [
            {
              "rule": "older",
              "days": 30
            }
          ]
        }
      ],
      "refusal": {
        "refusal": "too_many",
        "going": 1,
        "max_purge": 0
      }
    }
    "#);
}

#[test]
fn the_example_of_the_guide_is_true() {
    let policy = RetentionPolicy {
        keep_days: Some(7),
        keep_monthly: Some(3),
        keep_yearly: Some(2),
        max_purge: u32::MAX,
        ..RetentionPolicy::default()
    };
    let tonight = plan(&nights("2024-01-01", "2026-11-20"), &policy, &on("2026-11-20"));
    let week = ["20261120", "20261119", "20261118", "20261117", "20261116", "20261115", "20261114"];
    assert_eq!(kept(&tonight), [&week[..], &["20261031", "20260930", "20251231"]].concat());
    let december = plan(&nights("2024-01-01", "2026-12-01"), &policy, &on("2026-12-01"));
    assert_eq!(kept(&december)[6..], ["20261125", "20261031", "20251231"]);
}

prop_compose! {
    fn any_policy()(
        keep_days in proptest::option::of(0..60_u32),
        keep_last in 0..6_u32,
        keep_weekly in proptest::option::of(0..8_u32),
        keep_monthly in proptest::option::of(0..8_u32),
        keep_yearly in proptest::option::of(0..4_u32),
        max_purge in prop_oneof![0..40_u32, Just(u32::MAX)],
    ) -> RetentionPolicy {
        RetentionPolicy { keep_days, keep_last, keep_weekly, keep_monthly, keep_yearly, max_purge }
    }
}

/// Offsets in days before 2026-11-20 and serials; dense near today, some far away, some in the future.
fn any_archives() -> impl Strategy<Value = BTreeSet<(i64, u32)>> {
    let offset = prop_oneof![4 => 0..40_i64, 3 => 0..1500_i64, 1 => -3..3_i64];
    proptest::collection::btree_set((offset, 1..4_u32), 0..60)
}

fn at(offsets: &BTreeSet<(i64, u32)>) -> Vec<Known> {
    let pattern = NamePattern::default();
    let date = |offset: i64| day("2026-11-20") - chrono::Duration::days(offset);
    let archives = offsets.iter().map(|&(offset, serial)| pattern.name(date(offset), serial));
    archives.map(|name| Known { name, size_bytes: 1 }).collect()
}

/// The names that the rules alone would let go; a refusal is left aside.
fn going(plan: &Plan) -> BTreeSet<&ArchiveName> {
    plan.verdicts.iter().filter(|verdict| !verdict.keep).map(|verdict| &verdict.archive).collect()
}

proptest! {
    #[test]
    fn what_must_stay_stays(
        offsets in any_archives(), policy in any_policy(), current in any::<prop::sample::Index>(), has_current: bool,
    ) {
        let archives = at(&offsets);
        let current = (has_current && !archives.is_empty()).then(|| current.get(&archives).name.clone());
        let situation = Situation { current: current.clone(), ..on("2026-11-20") };
        let plan = plan(&archives, &policy, &situation);
        let going = going(&plan);

        prop_assert_eq!(plan.verdicts.len(), archives.len());
        prop_assert!(plan.verdicts.is_sorted_by(|a, b| a.archive > b.archive));
        prop_assert!(archives.is_empty() || going.len() < archives.len(), "a plan that purges everything");
        prop_assert!(going.iter().all(|name| name.date() < situation.today));
        prop_assert!(current.is_none_or(|current| !going.contains(&current)));
        let newest = plan.verdicts.iter().filter(|verdict| verdict.archive.date() <= situation.today);
        for verdict in newest.take(policy.keep_last.max(1) as usize) {
            prop_assert!(verdict.keep);
        }
        for verdict in &plan.verdicts {
            prop_assert!(!verdict.reasons.is_empty());
            prop_assert!(verdict.reasons.iter().all(|reason| reason.keeps() == verdict.keep));
        }
        prop_assert!(plan.refusal.is_none() || plan.purge().next().is_none());
        prop_assert!(plan.purge().count() <= policy.max_purge as usize);
    }

    #[test]
    fn a_larger_policy_keeps_at_least_as_much(
        offsets in any_archives(), policy in any_policy(), more in proptest::array::uniform5(0..5_u32),
    ) {
        let grow = |count: Option<u32>, by: u32| count.map_or((by > 0).then_some(by), |count| Some(count + by));
        let larger = RetentionPolicy {
            keep_days: grow(policy.keep_days, more[0]),
            keep_last: policy.keep_last + more[1],
            keep_weekly: grow(policy.keep_weekly, more[2]),
            keep_monthly: grow(policy.keep_monthly, more[3]),
            keep_yearly: grow(policy.keep_yearly, more[4]),
            max_purge: policy.max_purge,
        };
        let (archives, situation) = (at(&offsets), on("2026-11-20"));
        let (smaller, larger) = (plan(&archives, &policy, &situation), plan(&archives, &larger, &situation));
        prop_assert!(going(&larger).is_subset(&going(&smaller)));
    }

    #[test]
    fn the_order_of_the_listing_is_irrelevant(
        shuffled in any_archives().prop_map(|offsets| at(&offsets)).prop_shuffle(), policy in any_policy(),
    ) {
        let mut sorted = shuffled.clone();
        sorted.sort_by(|a, b| a.name.cmp(&b.name));
        let situation = on("2026-11-20");
        prop_assert_eq!(plan(&shuffled, &policy, &situation), plan(&sorted, &policy, &situation));
    }

    #[test]
    fn once_applied_the_same_plan_purges_nothing(
        offsets in any_archives(), policy in any_policy(), current in any::<prop::sample::Index>(),
    ) {
        let archives = at(&offsets);
        let current = (!archives.is_empty()).then(|| current.get(&archives).name.clone());
        let situation = Situation { current, ..on("2026-11-20") };
        let first = plan(&archives, &policy, &situation);
        let gone = going(&first);
        let left: Vec<Known> = archives.iter().filter(|known| !gone.contains(&known.name)).cloned().collect();
        prop_assert!(going(&plan(&left, &policy, &situation)).is_empty());
    }
}
