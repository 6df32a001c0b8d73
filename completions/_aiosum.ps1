
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
            [CompletionResult]::new('-C', '-C ', [CompletionResultType]::ParameterName, 'Change to DIRECTORY before doing anything')
            [CompletionResult]::new('--directory', '--directory', [CompletionResultType]::ParameterName, 'Change to DIRECTORY before doing anything')
            [CompletionResult]::new('-a', '-a', [CompletionResultType]::ParameterName, 'Use NAME instead of BLAKE3')
            [CompletionResult]::new('--algorithm', '--algorithm', [CompletionResultType]::ParameterName, 'Use NAME instead of BLAKE3')
            [CompletionResult]::new('--audit', '--audit', [CompletionResultType]::ParameterName, 'Also report files in DIRECTORY that no line names')
            [CompletionResult]::new('-l', '-l', [CompletionResultType]::ParameterName, 'Hash length in bytes (BLAKE3: 32, BLAKE2b: 64)')
            [CompletionResult]::new('--length', '--length', [CompletionResultType]::ParameterName, 'Hash length in bytes (BLAKE3: 32, BLAKE2b: 64)')
            [CompletionResult]::new('--seek', '--seek', [CompletionResultType]::ParameterName, 'Offset of the first BLAKE3 output byte')
            [CompletionResult]::new('--derive-key', '--derive-key', [CompletionResultType]::ParameterName, 'Use BLAKE3''s key derivation mode')
            [CompletionResult]::new('--num-threads', '--num-threads', [CompletionResultType]::ParameterName, 'Number of threads that read and hash')
            [CompletionResult]::new('--direct', '--direct', [CompletionResultType]::ParameterName, 'Bypass the page cache with O_DIRECT: auto, always, never')
            [CompletionResult]::new('--queue-depth', '--queue-depth', [CompletionResultType]::ParameterName, 'Blocks in flight, 1 to 4096')
            [CompletionResult]::new('--block-size', '--block-size', [CompletionResultType]::ParameterName, 'Block size, a power of two from 4K to 64M')
            [CompletionResult]::new('--progress', '--progress', [CompletionResultType]::ParameterName, 'Show progress: auto, always, never')
            [CompletionResult]::new('--exclude', '--exclude', [CompletionResultType]::ParameterName, 'Exclude matching files, as in rsync')
            [CompletionResult]::new('--include', '--include', [CompletionResultType]::ParameterName, 'Include files that a later --exclude matches')
            [CompletionResult]::new('--exclude-from', '--exclude-from', [CompletionResultType]::ParameterName, 'Read --exclude patterns from FILE ("-": stdin)')
            [CompletionResult]::new('--include-from', '--include-from', [CompletionResultType]::ParameterName, 'Read --include patterns from FILE ("-": stdin)')
            [CompletionResult]::new('--min-size', '--min-size', [CompletionResultType]::ParameterName, 'Skip files smaller than SIZE')
            [CompletionResult]::new('--max-size', '--max-size', [CompletionResultType]::ParameterName, 'Skip files larger than SIZE')
            [CompletionResult]::new('--completions', '--completions', [CompletionResultType]::ParameterName, 'Print a completion script for SHELL')
            [CompletionResult]::new('-c', '-c', [CompletionResultType]::ParameterName, 'Read hashes from the FILEs and check them')
            [CompletionResult]::new('--check', '--check', [CompletionResultType]::ParameterName, 'Read hashes from the FILEs and check them')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print no OK for verified files, and no notes')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print no OK for verified files, and no notes')
            [CompletionResult]::new('--status', '--status', [CompletionResultType]::ParameterName, 'No output; use the exit status')
            [CompletionResult]::new('--ignore-missing', '--ignore-missing', [CompletionResultType]::ParameterName, 'Skip files that do not exist')
            [CompletionResult]::new('--strict', '--strict', [CompletionResultType]::ParameterName, 'Accepted for compatibility: malformed lines always fail')
            [CompletionResult]::new('-w', '-w', [CompletionResultType]::ParameterName, 'Report every malformed line')
            [CompletionResult]::new('--warn', '--warn', [CompletionResultType]::ParameterName, 'Report every malformed line')
            [CompletionResult]::new('--tag', '--tag', [CompletionResultType]::ParameterName, 'Print BSD-style lines: BLAKE3 (FILE) = HASH')
            [CompletionResult]::new('-z', '-z', [CompletionResultType]::ParameterName, 'End lines with NUL; do not escape names')
            [CompletionResult]::new('--zero', '--zero', [CompletionResultType]::ParameterName, 'End lines with NUL; do not escape names')
            [CompletionResult]::new('--no-names', '--no-names', [CompletionResultType]::ParameterName, 'Print hashes only, without names')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print results and a summary as JSON lines on stdout')
            [CompletionResult]::new('--raw', '--raw', [CompletionResultType]::ParameterName, 'Print the hash of one file as raw bytes')
            [CompletionResult]::new('--keyed', '--keyed', [CompletionResultType]::ParameterName, 'Read a 32-byte key from standard input')
            [CompletionResult]::new('--no-mmap', '--no-mmap', [CompletionResultType]::ParameterName, 'Accepted for compatibility: files are never memory-mapped')
            [CompletionResult]::new('-0', '-0', [CompletionResultType]::ParameterName, 'Entries in list files end in NUL, not newline')
            [CompletionResult]::new('--from0', '--from0', [CompletionResultType]::ParameterName, 'Entries in list files end in NUL, not newline')
            [CompletionResult]::new('--debug', '--debug', [CompletionResultType]::ParameterName, 'Print for each file how it was read, and why')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help; --help lists all options')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help; --help lists all options')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print the version, and the I/O engines')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print the version, and the I/O engines')
            break
        }
    })

    $completions.Where{ $_.CompletionText -like "$wordToComplete*" } |
        Sort-Object -Property ListItemText
}
