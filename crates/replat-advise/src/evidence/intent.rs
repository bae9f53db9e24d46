//! What somebody wrote of a system that nobody has seen yet.

/// The sentences of a text: what stands in its lists and paragraphs, without their marks.
pub(super) fn sentences(text: &str) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let mut goes_on = false;
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            goes_on = false;
            continue;
        }
        let item = line.strip_prefix(['-', '*']).map(str::trim_start);
        match (item, all.last_mut()) {
            (None, Some(last)) if goes_on => {
                last.push(' ');
                last.push_str(line);
            }
            (item, _) => all.push(item.unwrap_or(line).to_owned()),
        }
        goes_on = true;
    }
    all
}
