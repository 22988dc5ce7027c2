<?php
// Calls a Roundel service; a failed call is repeated for 30 s while that is safe.
declare(strict_types=1);

function roundel_call(
    string $method,
    string $path,
    mixed $body = null,
    ?string $idempotencyKey = null,
    bool $repeat = true,
    float $timeout = 30.0,
): array {
    $headers = ["Authorization: Bearer " . getenv("ROUNDEL_KEY")];
    if ($method === "POST") {
        $headers[] = "Idempotency-Key: " . ($idempotencyKey ?? bin2hex(random_bytes(16)));
    }
    // A list is a batch: one JSON document a line.
    $encode = fn($document) => json_encode($document, JSON_THROW_ON_ERROR);
    $decode = fn($text) => json_decode($text, true, flags: JSON_THROW_ON_ERROR);
    $isBatch = is_array($body) && array_is_list($body);
    $content = $isBatch ? implode("\n", array_map($encode, $body)) : $encode($body);
    $deadline = microtime(true) + $timeout;
    for ($attempt = 0; ; $attempt++) {
        $retryAfter = 0.0;
        $curl = curl_init(getenv("ROUNDEL_URL") . $path);
        curl_setopt_array($curl, [
            CURLOPT_CUSTOMREQUEST => $method,
            CURLOPT_HTTPHEADER => $headers,
            CURLOPT_RETURNTRANSFER => true,
            CURLOPT_TIMEOUT => 10,
            CURLOPT_HEADERFUNCTION => function ($curl, $line) use (&$retryAfter) {
                if (stripos($line, "Retry-After:") === 0) {
                    $retryAfter = (float) trim(substr($line, 12));
                }
                return strlen($line);
            },
        ] + ($body === null ? [] : [CURLOPT_POSTFIELDS => $content]));
        $text = curl_exec($curl);
        $status = $text === false ? 0 : curl_getinfo($curl, CURLINFO_RESPONSE_CODE);
        if ($status >= 200 && $status < 300) {
            $lines = array_filter(explode("\n", $text));
            return $isBatch ? array_map($decode, $lines) : $decode($text);
        }
        $reason = $status === 0 ? curl_error($curl) : "$status $text";
        $hadNoEffect = $status === 429 || curl_errno($curl) === CURLE_COULDNT_CONNECT;
        $mayPass = in_array($status, [0, 429, 502, 503, 504], true);
        // Callers that failed together do not return together: a random delay is added.
        $backoff = random_int(0, 1_000_000) / 1_000_000 * min(5.0, 0.2 * 2 ** $attempt);
        $delay = $retryAfter + $backoff;
        $isSafe = $repeat ? $mayPass : $hadNoEffect;
        if (!$isSafe || microtime(true) + $delay > $deadline) {
            throw new RuntimeException("$method $path: $reason");
        }
        usleep((int) (1_000_000 * $delay));
    }
}
