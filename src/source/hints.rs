//! What a person can do about each kind of failure, in every language of the report; a table.

use super::SourceErrorKind;
use crate::text::Text;

/// The hint of a kind; a call site that knows more gives its own.
pub(super) fn of(kind: SourceErrorKind) -> Option<Text> {
    use SourceErrorKind as K;
    let (en, fr) = match kind {
        K::HostNotFound => (
            "check the host in `source.url` and this machine's name server (`getent hosts <host>`); \
             behind a proxy, set `source.proxy`",
            "vérifiez l'hôte dans `source.url` et le serveur de noms de cette machine (`getent hosts <hôte>`) ; \
             derrière un proxy, renseignez `source.proxy`",
        ),
        K::Refused => (
            "is the web server running, and is the port in `source.url` right? a firewall can also answer this way",
            "le serveur web tourne-t-il, et le port dans `source.url` est-il le bon ? un pare-feu peut aussi répondre ainsi",
        ),
        K::Unreachable => (
            "check this machine's network, the firewall on the way and whether `source.proxy` is needed; \
             try the URL with `curl -v`",
            "vérifiez le réseau de cette machine, le pare-feu sur le trajet et si `source.proxy` est nécessaire ; \
             essayez l'URL avec `curl -v`",
        ),
        K::Stalled => (
            "the server or the network stands still; if the server is merely slow, raise `source.stall_timeout` \
             (or `source.connect_timeout`)",
            "le serveur ou le réseau ne répond plus ; si le serveur est seulement lent, augmentez \
             `source.stall_timeout` (ou `source.connect_timeout`)",
        ),
        K::TimeLimit => (
            "if the zip is that large or the line that slow, raise `source.time_limit`; else look at the server's log: it \
             sends without coming to an end",
            "si le zip est si gros ou la ligne si lente, augmentez `source.time_limit` ; sinon, regardez le journal du \
             serveur : il envoie sans jamais finir",
        ),
        K::Cut => (
            "the network or the server ends the connection early; look at the server's log and at proxies and firewalls \
             that limit duration or size",
            "le réseau ou le serveur coupe la connexion trop tôt ; regardez le journal du serveur, et les proxys et \
             pare-feu qui limitent la durée ou la taille",
        ),
        K::Certificate => (
            "if the server uses an authority of your own, name its certificate in `source.ca_file`",
            "si le serveur utilise votre propre autorité, indiquez son certificat dans `source.ca_file`",
        ),
        K::Tls => (
            "does the server speak HTTPS on that port, TLS 1.2 or newer? if it asks for a certificate, set \
             `source.client_cert_file` and `source.client_key_file`",
            "le serveur parle-t-il HTTPS sur ce port, en TLS 1.2 ou plus récent ? s'il demande un certificat, renseignez \
             `source.client_cert_file` et `source.client_key_file`",
        ),
        K::Proxy => (
            "check `source.proxy` (or the environment's `https_proxy`, `no_proxy`): address, user and password, and \
             whether it lets this host through",
            "vérifiez `source.proxy` (ou `https_proxy`, `no_proxy` dans l'environnement) : adresse, utilisateur et mot de \
             passe, et si cet hôte y est autorisé",
        ),
        K::Unauthorized => (
            "the server does not accept the credentials: check `source.username` and `source.password`, or \
             `source.bearer_token`; they may have expired",
            "le serveur refuse les identifiants : vérifiez `source.username` et `source.password`, ou \
             `source.bearer_token` ; ils ont peut-être expiré",
        ),
        K::Forbidden => (
            "the server knows us, but this account or this address may not read the file: ask for the right on the server",
            "le serveur nous connaît, mais ce compte ou cette adresse n'a pas le droit de lire le fichier : demandez ce \
             droit sur le serveur",
        ),
        K::NotFound => (
            "check the path in `source.url`, and whether the export still writes its file there",
            "vérifiez le chemin dans `source.url`, et que l'export y dépose encore son fichier",
        ),
        K::Gone => (
            "the file was removed for good: ask where the export is now, and change `source.url`",
            "le fichier a été retiré définitivement : demandez où se trouve l'export et changez `source.url`",
        ),
        K::Throttled => (
            "the server limits how often it may be asked: run at another time, or ask for a higher limit",
            "le serveur limite la fréquence des demandes : lancez l'archivage à une autre heure ou faites relever la limite",
        ),
        K::ServerError => (
            "the fault is on the server: look at its log at this time, or tell those who run it",
            "la panne est du côté du serveur : regardez son journal à cette heure-ci, ou prévenez ses responsables",
        ),
        K::NotReady => (
            "the server is still making the file: start later, or raise `source.retries`; it may say how long to wait \
             (`Retry-After`)",
            "le serveur est encore en train de produire le fichier : démarrez plus tard, ou augmentez `source.retries` ; il \
             peut dire combien de temps attendre (`Retry-After`)",
        ),
        K::UnexpectedStatus => (
            "try the URL with `curl -v`: it must give the zip itself",
            "essayez l'URL avec `curl -v` : elle doit donner le zip lui-même",
        ),
        K::Redirect => (
            "put the address where the zip really is into `source.url`; a redirect to a login page means missing or \
             expired credentials",
            "mettez dans `source.url` l'adresse où se trouve vraiment le zip ; une redirection vers une page de connexion \
             signifie des identifiants absents ou expirés",
        ),
        K::Html => (
            "a login or error page came instead of the zip: check the credentials in `[source]` and open the URL in a browser",
            "une page de connexion ou d'erreur est arrivée à la place du zip : vérifiez les identifiants dans `[source]` et \
             ouvrez l'URL dans un navigateur",
        ),
        K::NotZip => {
            ("check that `source.url` leads to the zip itself", "vérifiez que `source.url` mène bien au zip lui-même")
        }
        K::Encoded => (
            "turn off compression for zip files on the server (`mod_deflate`, `gzip_types`) or on the proxy",
            "désactivez la compression des fichiers zip sur le serveur (`mod_deflate`, `gzip_types`) ou sur le proxy",
        ),
        K::TooLarge => (
            "if a zip of that size is right, raise `source.max_download`",
            "si un zip de cette taille est normal, augmentez `source.max_download`",
        ),
        K::Truncated => (
            "the file on the server may be incomplete: is the export still writing it at this hour, or did it run out of space?",
            "le fichier sur le serveur est peut-être incomplet : l'export l'écrit-il encore à cette heure-ci, ou a-t-il \
             manqué de place ?",
        ),
        K::Trailing => (
            "the script that sends the zip prints something after it (a debug toolbar, a profiler, a warning): have it end \
             right after the zip",
            "le script qui envoie le zip affiche quelque chose après lui (une barre de débogage, un profileur, un \
             avertissement) : faites-le s'arrêter juste après le zip",
        ),
        K::WrongLength => (
            "the server contradicts itself about the file's size: was the file being replaced, or is a proxy in between?",
            "le serveur se contredit sur la taille du fichier : était-il en cours de remplacement, ou y a-t-il un proxy ?",
        ),
        K::NoRanges => (
            "the server gives whole files only; nightly runs work all the same, but cannot resume",
            "le serveur ne donne que des fichiers entiers ; les archivages fonctionnent quand même, mais sans reprise",
        ),
        K::Changed => ("the file was replaced just now; try again", "le fichier vient d'être remplacé ; réessayez"),
        K::LocalDisk => (
            "check the space and the rights of `work_dir` (`df -h`, `ls -ld`)",
            "vérifiez l'espace et les droits de `work_dir` (`df -h`, `ls -ld`)",
        ),
        K::Interrupted | K::Other => return None,
    };
    Some(Text::new(en, fr))
}
