//! What makes an answer of a model no text for a section, whatever the rules of quality say of it later: nothing in it,
//! more than the section may have, another language than English. It must not judge what the text says.

use std::collections::HashSet;
use std::sync::LazyLock;

/// Why an answer is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// Nothing but white space.
    Empty,
    /// More characters than the section may have.
    TooLong,
    /// Not English.
    WrongLanguage,
}

impl Flaw {
    /// A sentence for people.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::Empty => "The provider's answer was empty.",
            Self::TooLong => "The provider's answer was longer than the section allows.",
            Self::WrongLanguage => "The provider's answer was not in English.",
        }
    }
}

/// Fewest words by which a language is judged.
const FEWEST_WORDS: usize = 12;
/// Least share of English function words, in percent: plain English has 25 to 45, lists of technical terms 10 or more,
/// the nearest languages below 5.
const LEAST_ENGLISH: usize = 8;
/// Most letters of other scripts, in percent: a formula has some, a sentence has more.
const MOST_FOREIGN: usize = 30;

/// Function words of English that hardly any neighbouring language has too.
static ENGLISH: LazyLock<HashSet<&str>> = LazyLock::new(|| {
    "the and to that which were been with from this these those their there it its as by for not than then would could should \
     whether because between through each are has have but or when where while within without into could did does no other such \
     only also any both they"
        .split_whitespace()
        .collect()
});

/// An answer as it is stored, or why it is not. Line ends become line feeds.
///
/// # Errors
/// The flaw.
pub fn text_of(answer: &str, max_chars: usize) -> Result<String, Flaw> {
    let text = answer.trim().replace("\r\n", "\n");
    match text.chars().count() {
        0 => Err(Flaw::Empty),
        n if n > max_chars => Err(Flaw::TooLong),
        _ => Ok(text),
    }
}

/// True if a text is long enough to tell and is not English. Facts in another language may be quoted, a section may not be
/// written in it.
#[must_use]
pub fn is_foreign(text: &str) -> bool {
    let (mut letters, mut foreign) = (0_usize, 0_usize);
    for c in text.chars().filter(|c| c.is_alphabetic()) {
        letters += 1;
        // Latin with its extensions ends before U+0250; Greek letters stand for quantities
        foreign += usize::from(!matches!(u32::from(c), 0..=0x24f | 0x370..=0x3ff | 0x1e00..=0x1eff));
    }
    if letters >= 20 && foreign * 100 > letters * MOST_FOREIGN {
        return true;
    }
    let words = text.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty());
    let (mut all, mut english) = (0_usize, 0_usize);
    for word in words {
        all += 1;
        english += usize::from(ENGLISH.contains(word.to_lowercase().as_str()));
    }
    all >= FEWEST_WORDS && english * 100 < all * LEAST_ENGLISH
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_as_it_will_be_stored_or_not_at_all() {
        assert_eq!(text_of("  The kiln\r\nheld. \n", 100), Ok("The kiln\nheld.".into()));
        assert_eq!(text_of(" \r\n ", 100), Err(Flaw::Empty));
        assert_eq!(text_of(&"é".repeat(100), 100).map(|text| text.len()), Ok(200));
        assert_eq!(text_of(&"é".repeat(101), 100), Err(Flaw::TooLong));
    }

    #[test]
    fn other_languages_are_noticed() {
        for text in [
            "Es war nicht bekannt, ob die Viskosität der Schmelze aus dem Drehmoment der Schnecke geschätzt werden kann, weil die Theorie eine konstante Zusammensetzung annimmt.",
            "Il n'était pas connu si la viscosité du mélange pouvait être estimée à partir du couple de la vis, car la théorie suppose une composition constante.",
            "Het was niet bekend of de viscositeit van de smelt kon worden geschat op basis van het koppel van de schroef, omdat de theorie een constante samenstelling aanneemt.",
            "No se sabía si la viscosidad de la masa fundida podía estimarse a partir del par del tornillo, porque la teoría supone una composición constante.",
            "Nid oedd yn hysbys a ellid amcangyfrif gludedd y toddiant o dorc y sgriw, gan fod y ddamcaniaeth yn tybio cyfansoddiad cyson drwy gydol y broses.",
            "Nie było wiadomo, czy lepkość stopu można oszacować na podstawie momentu obrotowego ślimaka, ponieważ teoria zakłada stały skład.",
            "Не было известно, можно ли оценить вязкость расплава по крутящему моменту шнека.",
            "目前尚不清楚是否可以根据螺杆扭矩估算熔体粘度，因为理论假设成分恒定。",
        ] {
            assert!(is_foreign(text), "{text}");
        }
    }

    #[test]
    fn english_is_english_however_technical_or_short() {
        for text in [
            "It was not known whether melt viscosity could be estimated from screw torque within 5 percent.",
            "The team, in May 2024, fired 48 cones of six compositions; the first series crazed at 15 °C per minute.",
            "The field is materials science. The sub-field is polymer processing.",
            "Key components: gRPC, Kafka, PostgreSQL, Redis, Kubernetes, Envoy, Istio and Prometheus, with OpenTelemetry for traces.",
            "Le Chatelier's principle and the Schrödinger equation were applied to the façade's α-Fe phase.",
            "Keine Angabe.",
            "α β γ δ",
        ] {
            assert!(!is_foreign(text), "{text}");
        }
    }
}
