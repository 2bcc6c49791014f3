//! The mail as HTML: the same page as the text, with a coloured banner.
//!
//! Written for mail programs, not browsers: tables and inline styles only (Outlook renders with Word), no images, no style
//! sheet, nothing fetched. Text has no colour of its own except grey that reads on white and on black, and the banner
//! carries both its colours, so a dark mode can do what it likes.

use std::fmt::Write as _;

use super::page::{Page, page};
use super::phrase::colon;
use super::{RunReport, Status, StepOutcome};
use crate::text::Language;

/// Long paths and URLs may break anywhere, or they would widen the whole mail on a phone.
const FONT: &str = "font-family:Segoe UI,Helvetica,Arial,sans-serif;font-size:14px;line-height:1.45;\
                    word-break:break-word;overflow-wrap:anywhere;";
const MONO: &str = "font-family:Consolas,Menlo,monospace;font-size:13px;";
const GREY: &str = "color:#808080;";

/// The HTML body of the mail.
pub fn html(report: &RunReport, language: Language) -> String {
    let page = page(report, language);
    let mut out = String::with_capacity(8 * 1024);
    // Writing to a String cannot fail.
    let _ = render(&page, &mut out);
    out
}

/// Text as HTML: everything that could be markup is escaped, attributes included.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

fn colour(status: Status) -> &'static str {
    match status {
        Status::Ok => "#1a7f37",
        Status::Warning => "#9a6700",
        Status::Failed => "#b42318",
    }
}

fn mark_colour(outcome: StepOutcome) -> &'static str {
    match outcome {
        // Lighter than the banner: these stand on the mail's own ground, white or black.
        StepOutcome::Done => "color:#2e9e4f;",
        StepOutcome::Warning => "color:#bf8700;",
        StepOutcome::Failed => "color:#e5483b;",
        StepOutcome::Skipped => GREY,
    }
}

fn render(page: &Page, out: &mut String) -> std::fmt::Result {
    let language = match page.language {
        Language::En => "en",
        Language::Fr => "fr",
    };
    write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"{language}\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta name=\"supported-color-schemes\" content=\"light dark\">\n<title>{} · {}</title>\n</head>\n\
         <body style=\"margin:0;padding:12px;{FONT}\">\n\
         <table role=\"presentation\" width=\"100%\" cellpadding=\"0\" cellspacing=\"0\" border=\"0\" style=\"max-width:640px;{FONT}\">\n",
        escaped(page.badge),
        escaped(&page.job),
    )?;
    banner(page, out)?;
    problems(page, out)?;
    steps(page, out)?;
    groups(page, out)?;
    footer(page, out)?;
    out.push_str("</table>\n</body>\n</html>\n");
    Ok(())
}

fn banner(page: &Page, out: &mut String) -> std::fmt::Result {
    let colour = colour(page.status);
    writeln!(
        out,
        "<tr><td bgcolor=\"{colour}\" style=\"background-color:{colour};color:#ffffff;padding:12px 16px;\">\
         <div style=\"font-size:20px;font-weight:bold;color:#ffffff;\">{} {} · {}</div>\
         <div style=\"font-size:15px;color:#ffffff;\">{}</div></td></tr>",
        page.mark,
        escaped(page.badge),
        escaped(&page.job),
        escaped(&page.summary),
    )?;
    if let Some(note) = &page.note {
        writeln!(out, "<tr><td style=\"padding:10px 16px 0 16px;font-weight:bold;\">{}</td></tr>", escaped(note))?;
    }
    Ok(())
}

fn heading(title: &str) -> String {
    format!("<div style=\"font-weight:bold;padding-bottom:4px;\">{}</div>", escaped(title))
}

fn problems(page: &Page, out: &mut String) -> std::fmt::Result {
    let colon = colon(page.language);
    for problem in &page.failures {
        write!(out, "<tr><td style=\"padding:12px 16px 0 16px;\">")?;
        out.push_str(&heading(&format!("{}{colon}{}", page.titles.cause, problem.title)));
        write!(out, "<div style=\"border-left:4px solid {};padding-left:10px;{MONO}\">", colour(Status::Failed))?;
        out.push_str(&problem.chain.iter().map(|line| escaped(line)).collect::<Vec<_>>().join("<br>"));
        out.push_str("</div>");
        if let Some(hint) = &problem.hint {
            write!(out, "<div style=\"padding-top:8px;\"><b>{}{colon}</b>{}</div>", page.titles.to_do, escaped(hint))?;
        }
        out.push_str("</td></tr>\n");
    }
    if !page.warnings.is_empty() {
        write!(out, "<tr><td style=\"padding:12px 16px 0 16px;\">{}", heading(page.titles.warnings))?;
        for warning in &page.warnings {
            write!(
                out,
                "<div style=\"border-left:4px solid {};padding-left:10px;margin-bottom:4px;\">{}</div>",
                colour(Status::Warning),
                escaped(warning)
            )?;
        }
        out.push_str("</td></tr>\n");
    }
    Ok(())
}

fn table(out: &mut String) {
    let _ =
        write!(out, "<table role=\"presentation\" cellpadding=\"0\" cellspacing=\"0\" border=\"0\" style=\"{FONT}\">");
}

fn steps(page: &Page, out: &mut String) -> std::fmt::Result {
    if page.steps.is_empty() {
        return Ok(());
    }
    write!(out, "<tr><td style=\"padding:14px 16px 0 16px;\">{}", heading(page.titles.steps))?;
    table(out);
    for step in &page.steps {
        let of_skipped = if step.outcome == StepOutcome::Skipped { GREY } else { "" };
        write!(
            out,
            "<tr><td valign=\"top\" style=\"padding:1px 8px 1px 0;font-weight:bold;{}\">{}</td>\
             <td valign=\"top\" style=\"padding:1px 12px 1px 0;{of_skipped}\">{}</td>\
             <td valign=\"top\" align=\"right\" style=\"padding:1px 12px 1px 0;white-space:nowrap;{GREY}\">{}</td>\
             <td valign=\"top\" style=\"padding:1px 0;{of_skipped}\">{}</td></tr>",
            mark_colour(step.outcome),
            step.mark,
            escaped(step.title),
            escaped(&step.duration),
            escaped(&step.detail),
        )?;
    }
    out.push_str("</table></td></tr>\n");
    Ok(())
}

fn groups(page: &Page, out: &mut String) -> std::fmt::Result {
    for group in &page.groups {
        write!(
            out,
            "<tr><td style=\"padding:14px 16px 0 16px;\"><div style=\"padding-bottom:4px;\"><b>{}</b>",
            escaped(&group.title)
        )?;
        if let Some(subtitle) = &group.subtitle {
            write!(out, " <span style=\"{GREY}\">{}</span>", escaped(subtitle))?;
        }
        out.push_str("</div>");
        table(out);
        for (label, value) in &group.rows {
            write!(
                out,
                "<tr><td valign=\"top\" style=\"padding:1px 12px 1px 0;white-space:nowrap;{GREY}\">{}</td>\
                 <td valign=\"top\" style=\"padding:1px 0;\">{}</td></tr>",
                escaped(label),
                escaped(value)
            )?;
        }
        out.push_str("</table></td></tr>\n");
    }
    Ok(())
}

fn footer(page: &Page, out: &mut String) -> std::fmt::Result {
    let colon = colon(page.language);
    let parts: Vec<String> =
        page.footer.iter().map(|(label, value)| format!("{}{colon}{}", escaped(label), escaped(value))).collect();
    writeln!(
        out,
        "<tr><td style=\"padding:18px 16px 0 16px;\"><div style=\"border-top:1px solid #999999;padding-top:8px;\
         font-size:12px;{GREY}\">{}</div></td></tr>",
        parts.join("<br>")
    )
}

#[cfg(test)]
mod tests {
    use super::super::fixtures;
    use super::*;

    #[test]
    fn the_html_of_a_good_and_of_a_bad_night() {
        insta::assert_snapshot!("html_published_fr", html(&fixtures::published(), Language::Fr));
        insta::assert_snapshot!("html_upload_failed_at_one_en", html(&fixtures::upload_failed_at_one(), Language::En));
    }

    #[test]
    fn the_html_says_everything_the_text_says() {
        for (name, report) in fixtures::all() {
            for language in [Language::En, Language::Fr] {
                let html = html(&report, language);
                let page = page(&report, language);
                let problems = page.failures.iter().flat_map(|p| p.chain.iter().chain(p.hint.as_ref()));
                let rows = page.groups.iter().flat_map(|g| g.rows.iter().map(|(_, value)| value));
                let steps = page.steps.iter().map(|step| &step.detail);
                let rest =
                    page.warnings.iter().chain(page.note.as_ref()).chain(page.footer.iter().map(|(_, value)| value));
                for said in problems.chain(rows).chain(steps).chain(rest) {
                    assert!(html.contains(&escaped(said)), "{name}: `{said}` is not in the html");
                }
            }
        }
    }

    #[test]
    fn nothing_from_outside_becomes_markup() {
        let evil = "<script>alert('x')</script>\"&";
        let mut report = fixtures::upload_failed_at_one();
        report.job = evil.into();
        report.host = evil.into();
        report.failures[0].what = evil.into();
        report.failures[0].causes = vec![evil.into()];
        report.warnings.push(super::super::Warning {
            step: crate::step::Step::Purge,
            destination: Some(evil.into()),
            text: crate::text::Text::new(evil, evil),
        });
        report.destinations[0].name = evil.into();
        report.destinations[0].location = evil.into();
        report.destinations[0].purged = vec![evil.into()];
        let html = html(&report, Language::En);
        assert!(!html.contains("<script"), "{html}");
        assert!(!html.contains("alert('"), "{html}");
    }
}
