
using namespace System.Management.Automation
using namespace System.Management.Automation.Language

Register-ArgumentCompleter -Native -CommandName 'aiosum' -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)

    $commandElements = $commandAst.CommandElements
    $command = @(
        'aiosum'
        for ($i = 1; $i -lt $commandElements.Count; $i++) {
            $element = $commandElements[$i]
            if ($element -isnot [StringConstantExpressionAst] -or
                $element.StringConstantType -ne [StringConstantType]::BareWord -or
                $element.Value.StartsWith('-') -or
                $element.Value -eq $wordToComplete) {
                break
        }
        $element.Value
    }) -join ';'

    $completions = @(switch ($command) {
        'aiosum' {
            [CompletionResult]::new('-a', '-a', [CompletionResultType]::ParameterName, 'Hash with this algorithm instead of BLAKE3')
            [CompletionResult]::new('--algorithm', '--algorithm', [CompletionResultType]::ParameterName, 'Hash with this algorithm instead of BLAKE3')
            [CompletionResult]::new('--audit', '--audit', [CompletionResultType]::ParameterName, 'Name files that have no line, too')
            [CompletionResult]::new('-l', '-l', [CompletionResultType]::ParameterName, 'Bytes of BLAKE3''s output, which has no end')
            [CompletionResult]::new('--length', '--length', [CompletionResultType]::ParameterName, 'Bytes of BLAKE3''s output, which has no end')
            [CompletionResult]::new('--seek', '--seek', [CompletionResultType]::ParameterName, 'The first byte of BLAKE3''s output')
            [CompletionResult]::new('--derive-key', '--derive-key', [CompletionResultType]::ParameterName, 'Use BLAKE3''s key derivation mode')
            [CompletionResult]::new('--num-threads', '--num-threads', [CompletionResultType]::ParameterName, 'Threads that read and that hash')
            [CompletionResult]::new('--direct', '--direct', [CompletionResultType]::ParameterName, 'Whether to go past the page cache with O_DIRECT')
            [CompletionResult]::new('--queue-depth', '--queue-depth', [CompletionResultType]::ParameterName, 'Blocks in flight, 1 to 4096')
            [CompletionResult]::new('--block-size', '--block-size', [CompletionResultType]::ParameterName, 'Bytes a block, a power of two from 4K to 64M')
            [CompletionResult]::new('--progress', '--progress', [CompletionResultType]::ParameterName, 'Show how far it is: auto, always, never')
            [CompletionResult]::new('--exclude', '--exclude', [CompletionResultType]::ParameterName, 'Leave out what matches, as in rsync')
            [CompletionResult]::new('--include', '--include', [CompletionResultType]::ParameterName, 'Keep what matches, and a later --exclude would leave out')
            [CompletionResult]::new('--exclude-from', '--exclude-from', [CompletionResultType]::ParameterName, 'Read --exclude patterns from a file, one a line ("-": stdin)')
            [CompletionResult]::new('--include-from', '--include-from', [CompletionResultType]::ParameterName, 'Read --include patterns from a file, one a line ("-": stdin)')
            [CompletionResult]::new('--min-size', '--min-size', [CompletionResultType]::ParameterName, 'Leave out files that are smaller')
            [CompletionResult]::new('--max-size', '--max-size', [CompletionResultType]::ParameterName, 'Leave out files that are larger')
            [CompletionResult]::new('--completions', '--completions', [CompletionResultType]::ParameterName, 'Print the completion script for a shell')
            [CompletionResult]::new('-c', '-c', [CompletionResultType]::ParameterName, 'Check the files that the FILEs'' lines name')
            [CompletionResult]::new('--check', '--check', [CompletionResultType]::ParameterName, 'Check the files that the FILEs'' lines name')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print no OK')
            [CompletionResult]::new('--status', '--status', [CompletionResultType]::ParameterName, 'Print nothing, the exit code says it')
            [CompletionResult]::new('--ignore-missing', '--ignore-missing', [CompletionResultType]::ParameterName, 'Pass over files that are not there')
            [CompletionResult]::new('--strict', '--strict', [CompletionResultType]::ParameterName, 'Accepted for cksum''s sake: malformed lines always fail')
            [CompletionResult]::new('-w', '-w', [CompletionResultType]::ParameterName, 'Name all malformed lines, even of what is no manifest')
            [CompletionResult]::new('--warn', '--warn', [CompletionResultType]::ParameterName, 'Name all malformed lines, even of what is no manifest')
            [CompletionResult]::new('--tag', '--tag', [CompletionResultType]::ParameterName, 'Print lines like "BLAKE3 (FILE) = HASH"')
            [CompletionResult]::new('-z', '-z', [CompletionResultType]::ParameterName, 'End lines with NUL, for names of any bytes')
            [CompletionResult]::new('--zero', '--zero', [CompletionResultType]::ParameterName, 'End lines with NUL, for names of any bytes')
            [CompletionResult]::new('--no-names', '--no-names', [CompletionResultType]::ParameterName, 'Print hashes without names')
            [CompletionResult]::new('--raw', '--raw', [CompletionResultType]::ParameterName, 'Print the hash of one file as bytes')
            [CompletionResult]::new('--keyed', '--keyed', [CompletionResultType]::ParameterName, 'Take a key, 32 bytes, from standard input')
            [CompletionResult]::new('--no-mmap', '--no-mmap', [CompletionResultType]::ParameterName, 'Accepted for b3sum''s sake: nothing is mapped into memory')
            [CompletionResult]::new('-0', '-0', [CompletionResultType]::ParameterName, 'What these files hold ends in NUL instead of newline')
            [CompletionResult]::new('--from0', '--from0', [CompletionResultType]::ParameterName, 'What these files hold ends in NUL instead of newline')
            [CompletionResult]::new('--debug', '--debug', [CompletionResultType]::ParameterName, 'Print each file''s route, and why')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            break
        }
    })

    $completions.Where{ $_.CompletionText -like "$wordToComplete*" } |
        Sort-Object -Property ListItemText
}
